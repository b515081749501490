"""The shipped behavioural tests by capability, and their names by group."""

from collections.abc import Mapping, Sequence

from models.checklist_cases import expand, load_templates
from schemas.records import Kind

ORIGINS = {"US", "UK", "India", "China", "Japan", "Germany", "Nigeria", "Brazil", "Arab world"}

TEMPLATES = load_templates()
SAME, MOVED, FAIR = TEMPLATES.invariance, TEMPLATES.direction, TEMPLATES.fairness
SENTENCES: Mapping[str, Sequence[Mapping[Kind, Sequence[str]]]] = {
    "typos": [SAME.typos],
    "casing": [SAME.casing],
    "links": [SAME.links],
    "company_swap": [SAME.company_swap],
    "negation": [MOVED.negation.up, MOVED.negation.down],
    "rise_fall": [MOVED.rise_fall],
    "severity": [MOVED.severity],
    "company": [FAIR.company],
    "person": [FAIR.person],
}
CASES = expand(TEMPLATES, seed=0)
COMPANIES = {name: origin for origin, names in TEMPLATES.words.companies.items() for name in names}
PEOPLE = {
    name: (origin, gender)
    for origin, genders in TEMPLATES.words.people.items()
    for gender, names in genders.items()
    for name in names
}


def sentences(capability: str) -> list[str]:
    return [s for part in SENTENCES[capability] for group in part.values() for s in group]


def cases(capability: str) -> list[tuple[str, str]]:
    return [
        (case.text, case.changed)
        for case in CASES
        if case.capability == capability and case.changed is not None
    ]
