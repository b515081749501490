"""Labelled sets of our own in Chinese, in the shape of the real ones: every label has its words."""

import json
import random
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

TEXTS_A_LABEL = 100

SENTIMENTS = {"negative": "亏损下跌", "neutral": "保持不变", "positive": "大幅增长"}
TOPICS = {
    "analyst_update": "券商评级",
    "company_product_news": "推出新品",
    "currencies": "汇率走势",
    "dividend": "派发股息",
    "earnings": "季度业绩",
    "energy_oil": "原油价格",
    "fed_central_banks": "央行利率",
    "financials": "银行贷款",
    "general_news_opinion": "社会评论",
    "gold_metals_materials": "黄金铜矿",
    "ipo": "首次上市",
    "legal_regulation": "法院处罚",
    "macro": "通货膨胀",
    "markets": "大盘指数",
    "mergers_investments": "并购交易",
    "personnel_change": "高管辞职",
    "politics": "选举投票",
    "stock_commentary": "荐股心得",
    "stock_movement": "涨停异动",
    "treasuries_corporate_debt": "国债发行",
}
INTENTS = {
    "Refund_not_showing_up": "退款没到",
    "activate_my_card": "激活卡片",
    "age_limit": "年龄限制",
    "apple_pay_or_google_pay": "苹果支付",
    "atm_support": "取款机器",
    "automatic_top_up": "自动充值",
}
OTHER_INTENTS = {
    "oos": "天气怎样",
    "apr": "年化费率",
    "routing": "联行号码",
    "report_lost_card": "丢失挂失",
}
EMOTIONS = {
    "anger": "气死我了",
    "disgust": "真是恶心",
    "fear": "非常害怕",
    "joy": "开心极了",
    "neutral": "我想了解",
    "sadness": "伤心难过",
    "surprise": "太意外了",
}
COMPANIES = ("阿里", "腾讯", "百度", "华为", "京东", "小米")
_FILLERS = (
    "今天", "昨日", "本周", "消息称", "据报道", "我们看到", "公司表示", "大家都说", "最近几天",
    "请问一下", "目前来看", "按照计划", "这个月", "上午", "晚上",
)  # fmt: skip
_PLACES = "北京上海广州深圳成都重庆武汉西安南京天津杭州青岛大连厦门长沙"


def write_chinese_data(folder: Path) -> Path:
    """Writes all six files; returns the folder."""
    folder.mkdir(parents=True)
    _write(folder / "sentfin.jsonl", SENTIMENTS, COMPANIES)
    _write(folder / "twitter_fin_sentiment.jsonl", SENTIMENTS)
    _write(folder / "twitter_fin_topic.jsonl", TOPICS)
    _write(folder / "banking77.jsonl", INTENTS)
    _write(folder / "clinc_banking.jsonl", OTHER_INTENTS)
    _write(folder / "goemotions.jsonl", EMOTIONS)
    return folder


def chinese_text(words: str, random_: random.Random) -> str:
    """A label's words twice, among others that say nothing."""
    place = "".join(random_.choices(_PLACES, k=2))
    parts = [words, words, random_.choice(_FILLERS), place]
    random_.shuffle(parts)
    return " ".join(parts)


def characters() -> str:
    """Every character of the texts, for a vocabulary."""
    labels = (SENTIMENTS, TOPICS, INTENTS, OTHER_INTENTS, EMOTIONS)
    words = chain(*(each.values() for each in labels), COMPANIES, _FILLERS, _PLACES)
    return "".join(sorted(set("".join(words))))


def _write(path: Path, labels: Mapping[str, str], companies: tuple[str, ...] = ()) -> None:
    random_ = random.Random(path.name)
    rows = []
    for label, words in labels.items():
        for _ in range(TEXTS_A_LABEL):
            text = chinese_text(words, random_)
            row = {"text": text, "label": label}
            if companies:
                company = random_.choice(companies)
                row |= {"text": f"{company}{text}", "entity": company}
            rows.append(row)
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(content, encoding="utf-8")
