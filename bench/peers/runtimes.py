"""What one would use instead of labelstream's engine on a CPU: the same BERT in PyTorch, ONNX
Runtime and OpenVINO, each in the way that its makers recommend.

A peer is a `Peer`: `ways` to classify many batches, of which `engine.py` takes the fastest, and one
way to classify a lone one. A batch is a dictionary of two arrays (texts, tokens), as `batches.py`
makes them; the answer is logits.
"""

import concurrent.futures
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import nncf
import onnx
import onnxruntime
import openvino
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import optimizer
from transformers import AutoModelForSequenceClassification

INPUTS = ("input_ids", "attention_mask")


@dataclasses.dataclass
class Peer:
    precision: str
    ways: dict[str, Callable]  # a list of batches -> a list of logits
    one: Callable  # a batch -> logits


def one_after_the_other(one):
    return lambda batches: [one(batch) for batch in batches]


def peers(checkpoint, work, threads, calibration):
    """Name -> Peer. What takes long to make is kept in the directory `work`. `calibration` are
    batches of one text."""
    torch.set_num_threads(threads)
    files = Files(checkpoint, work, calibration)
    found = {
        "pytorch": pytorch(checkpoint),
        "pytorch_compiled": pytorch_compiled(checkpoint),
        "onnx_f32": onnx_(files.exported, "f32", threads),
        "onnx_optimized_f32": onnx_(files.optimized, "f32", threads),
        "onnx_int8": onnx_(files.exported_int8, "int8", threads),
        "onnx_optimized_int8": onnx_(files.optimized_int8, "int8", threads),
        "openvino_f32": openvino_(files.exported, "f32", "f32", threads),
        "openvino_int8": openvino_(files.calibrated_int8, "int8", "f32", threads),
    }
    # What OpenVINO does by itself on a machine that has bf16.
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found["openvino_bf16"] = openvino_(files.exported, "bf16", "bf16", threads)
        found["openvino_int8_bf16"] = openvino_(files.calibrated_int8, "int8 and bf16", "bf16", threads)
    return found


class Files:
    """The model in the formats of the others."""

    def __init__(self, checkpoint, work, calibration):
        self.checkpoint, self.work, self.calibration = checkpoint, Path(work), calibration
        self.work.mkdir(parents=True, exist_ok=True)

    def made(self, name, make):
        path = self.work / name
        if not path.exists():
            # Made beside it: what was interrupted is made again.
            with tempfile.TemporaryDirectory(dir=self.work) as beside:
                make(str(Path(beside, name)))
                for file in sorted(Path(beside).glob(f"{path.stem}.*")):
                    file.rename(self.work / file.name)
        return str(path)

    @property
    def exported(self):
        return self.made("f32.onnx", self.export)

    @property
    def optimized(self):
        return self.made("optimized.onnx", self.optimize)

    @property
    def exported_int8(self):
        return self.made("int8.onnx", lambda path: self.quantize(self.exported, path))

    @property
    def optimized_int8(self):
        # The types behind fused operators are not known to the quantizer.
        f32 = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        return self.made(
            "optimized-int8.onnx",
            lambda path: quantize_dynamic(
                self.optimized,
                path,
                weight_type=QuantType.QInt8,
                per_channel=True,
                extra_options=f32,
            ),
        )

    @property
    def calibrated_int8(self):
        return self.made("calibrated-int8.xml", self.calibrate)

    def export(self, path):
        # Attention in single steps, which the optimizer of ONNX Runtime and OpenVINO know again.
        model = AutoModelForSequenceClassification.from_pretrained(
            self.checkpoint, attn_implementation="eager"
        ).eval()
        ids = torch.ones((2, 8), dtype=torch.int64)
        torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            path,
            dynamo=False,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in INPUTS},
        )

    def optimize(self, path):
        config = AutoModelForSequenceClassification.from_pretrained(self.checkpoint).config
        fused = optimizer.optimize_model(
            self.exported,
            model_type="bert",
            num_heads=config.num_attention_heads,
            hidden_size=config.hidden_size,
            opt_level=1,
        )
        attention = fused.get_fused_operator_statistics()["Attention"]
        if attention != config.num_hidden_layers:
            raise RuntimeError(
                f"ONNX Runtime's optimizer has fused {attention} attentions of {config.num_hidden_layers}"
            )
        fused.save_model_to_file(path)

    def quantize(self, source, path):
        prepared = str(Path(path).with_name("prepared.onnx"))
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_dynamic(prepared, path, weight_type=QuantType.QInt8, per_channel=True)

    def calibrate(self, path):
        nncf.set_log_level("ERROR")
        texts = nncf.Dataset(self.calibration)
        model = openvino.convert_model(self.exported)
        openvino.save_model(
            nncf.quantize(
                model,
                texts,
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(self.calibration),
            ),
            path,
            compress_to_fp16=False,
        )


def pytorch(checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()

    def one(batch):
        with torch.inference_mode():
            return model(
                **{name: torch.from_numpy(array) for name, array in batch.items()}
            ).logits.numpy()

    return Peer("f32", {"one batch after the other": one_after_the_other(one)}, one)


def pytorch_compiled(checkpoint):
    torch._inductor.config.freezing = True
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    compiled = torch.compile(
        lambda input_ids, attention_mask: (
            model(input_ids=input_ids, attention_mask=attention_mask).logits
        ),
        dynamic=True,
    )

    def one(batch):
        # Freezing takes no inference mode.
        with torch.no_grad():
            return compiled(*(torch.from_numpy(batch[name]) for name in INPUTS)).numpy()

    return Peer("f32", {"one batch after the other": one_after_the_other(one)}, one)


def onnx_(file, precision, threads):
    def session(threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        running = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda batch: running.run(None, batch)[0]

    together, apart = session(threads), session(1)
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    ways = {
        "one batch after the other": one_after_the_other(together),
        "a batch a thread": lambda batches: list(pool.map(apart, batches)),
    }
    return Peer(precision, ways, together)


def openvino_(file, precision, hint, threads):
    def compiled(performance):
        return openvino.Core().compile_model(
            file,
            "CPU",
            {
                "PERFORMANCE_HINT": performance,
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": threads,
            },
        )

    throughput, request = compiled("THROUGHPUT"), compiled("LATENCY").create_infer_request()
    queue = openvino.AsyncInferQueue(throughput)

    def queued(batches):
        logits = [None] * len(batches)

        def keep(request, number):
            logits[number] = request.get_output_tensor().data.copy()

        queue.set_callback(keep)
        for number, batch in enumerate(batches):
            queue.start_async(batch, number)
        queue.wait_all()
        return logits

    def one(batch):
        return request.infer(batch, share_inputs=True)[0].copy()

    return Peer(
        precision,
        {"asynchronous queue": queued, "one batch after the other": one_after_the_other(one)},
        one,
    )
