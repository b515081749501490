"""The whole network as ONNX Runtime's own tool makes int8 of it: ranges found while it serves."""

import tempfile
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from models.bundle import Bundle
from models.export import stage_graphs
from models.network import Head
from models.recipe import Stage
from models.torch_network import stage_heads, trained_encoder


def plain_int8_graph(bundle: Bundle) -> bytes:
    """One graph with every layer and the last stage's heads, weights in int8 per channel."""
    encoder = trained_encoder(bundle)
    whole = Stage(0, encoder.shape.layers, bundle.manifest.stages[-1].pooled)
    entries = bundle.manifest.heads
    heads = {
        name: Head(entries[name].labels, weight, bias)
        for name, (weight, bias) in stage_heads(bundle, len(bundle.manifest.stages)).items()
    }
    (exact,) = stage_graphs(encoder, [whole], None, bundle.manifest.window_tokens, [heads])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(exact)
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        return target.read_bytes()
