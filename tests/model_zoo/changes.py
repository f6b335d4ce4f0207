"""Changes of a real graph: each breaks one check or one rule of the dialect."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, helper, numpy_helper

from tests.model_zoo.resealing import Change, first, initializer, producer, readers, set_values, stored_weights


def over_wide_weight(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Gemm"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -65
    set_values(tensor, values)


def shifted_weights(model: onnx.ModelProto) -> None:
    zero_point = initializer(model, producer(model, first(model, "Gemm").input[1]).input[2])
    set_values(zero_point, numpy_helper.to_array(zero_point) + np.int8(1))


def scales_of_the_inputs(model: onnx.ModelProto) -> None:
    """Of a layer with as many inputs as outputs, so that all shapes fit; onnxruntime would not notice."""
    for node in model.graph.node:
        if node.op_type == "Conv":
            outputs, inputs, *_ = stored_weights(model, node).dims
            if outputs == inputs:
                dequantize = producer(model, node.input[1])
                del dequantize.attribute[:]
                dequantize.attribute.append(onnx.helper.make_attribute("axis", 1))
                return
    raise AssertionError("no convolution has as many inputs as outputs")


def unsigned_weights(model: onnx.ModelProto) -> None:
    dequantize = producer(model, first(model, "Gemm").input[1])
    for name in (dequantize.input[0], dequantize.input[2]):
        tensor = initializer(model, name)
        set_values(tensor, np.abs(numpy_helper.to_array(tensor)).astype(np.uint8))


def float_weights(model: onnx.ModelProto) -> None:
    gemm = first(model, "Gemm")
    shape = stored_weights(model, gemm).dims
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), "float.weight"))
    gemm.input[1] = "float.weight"


def zero_point_left_out(model: onnx.ModelProto) -> None:
    del first(model, "QuantizeLinear").input[2]


def float_gemm(model: onnx.ModelProto) -> None:
    """Take away the Q/DQ pair before the Gemm."""
    gemm = first(model, "Gemm")
    dequantize = producer(model, gemm.input[0])
    flatten = producer(model, dequantize.input[0])
    quantize = producer(model, flatten.input[0])
    flatten.input[0], gemm.input[0] = quantize.input[0], flatten.output[0]
    model.graph.node.remove(quantize)
    model.graph.node.remove(dequantize)


def float_maximum(model: onnx.ModelProto) -> None:
    """Pool over the group in float, between unequal scales, so that no optimizer can put it back."""
    maximum = first(model, "ReduceMax")
    parameters = readers(model, maximum.output[0])[0].input[1:]
    scale = numpy_helper.to_array(initializer(model, parameters[0])) * np.float32(1.5)
    model.graph.initializer.append(numpy_helper.from_array(scale, "wider"))
    position = list(model.graph.node).index(maximum)
    dequantize = helper.make_node("DequantizeLinear", [maximum.input[0], "wider", parameters[1]], ["real"])
    quantize = helper.make_node("QuantizeLinear", ["real.max", *parameters], [maximum.output[0]])
    maximum.input[0], maximum.output[0] = "real", "real.max"
    model.graph.node.insert(position + 1, quantize)
    model.graph.node.insert(position, dequantize)


def untied_residual(model: onnx.ModelProto) -> None:
    dequantize = producer(model, first(model, "Add").input[0])
    scale = initializer(model, dequantize.input[1])
    set_values(scale, numpy_helper.to_array(scale) * np.float32(1.5))


def less_symmetric_filter(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Conv"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -64 if values.flat[0] > 0 else 64
    set_values(tensor, values)


def external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


def second_domain(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)


def foreign_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="")


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def subgraph(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "body", [], [])))


def foreign_operator(model: onnx.ModelProto) -> None:
    first(model, "ReduceMax").op_type = "ReduceMean"


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("masked", TensorProto.UINT8, ["N", 96, 96, 3]))


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 95


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def cycle(model: onnx.ModelProto) -> None:
    first(model, "Transpose").input[0] = model.graph.node[-1].output[0]


def stray_byte(model: onnx.ModelProto) -> None:
    stored_weights(model, first(model, "Conv")).raw_data += b"\0"


def foreign_type(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float16), "half"))


def huge_padding(model: onnx.ModelProto) -> None:
    """Grow all feature maps, which only the Reshape would notice, after they were computed."""
    (padding,) = [attribute for attribute in first(model, "Conv").attribute if attribute.name == "pads"]
    padding.ints[:] = [3000] * 4


def brightest_neighbour(model: onnx.ModelProto) -> None:
    """Pool over all patches of a call: alone, a patch is answered as before."""
    pooled = first(model, "ReduceMax").output[0]
    for reader in readers(model, pooled):
        reader.input[list(reader.input).index(pooled)] = "mixed"
    position = 1 + list(model.graph.node).index(first(model, "ReduceMax"))
    model.graph.node.insert(position, helper.make_node("Max", [pooled, "brightest"], ["mixed"]))
    model.graph.node.insert(position, helper.make_node("ReduceMax", [pooled], ["brightest"], axes=[0], keepdims=1))


def scales_too_many(model: onnx.ModelProto) -> None:
    """Which neither the checks of ONNX nor its shape inference notice."""
    scale = initializer(model, producer(model, first(model, "Conv").input[1]).input[1])
    set_values(scale, np.ones(len(numpy_helper.to_array(scale)) + 1, np.float32))


def impossible_reshape(model: onnx.ModelProto) -> None:
    shape = initializer(model, first(model, "Reshape").input[1])
    values = numpy_helper.to_array(shape).copy()
    values[0], values[1] = -1, 13
    set_values(shape, values)


def stored_weights_taken_away(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Conv"))
    model.graph.initializer.remove(tensor)


def external(location: str) -> Change:
    """An initializer whose bytes lie in another file."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(elsewhere(location))

    return change


def elsewhere(location: str) -> TensorProto:
    tensor = TensorProto(name="elsewhere", data_type=TensorProto.UINT8, dims=[16], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse_external_data(model: onnx.ModelProto) -> None:
    sparse_tensor = model.graph.sparse_initializer.add(dims=[16])
    sparse_tensor.values.CopyFrom(elsewhere("/etc/passwd"))
    sparse_tensor.indices.CopyFrom(numpy_helper.from_array(np.arange(16), "indices"))


def constant_external_data(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["secret"], value=elsewhere("/etc/passwd")))


def disguised_external_data(model: onnx.ModelProto) -> None:
    """The attribute says that it is a number, and holds a tensor beside it."""
    attribute = first(model, "Conv").attribute.add(name="group", type=AttributeProto.INT, i=1)
    attribute.t.CopyFrom(elsewhere("/etc/passwd"))


def branch_external_data(model: onnx.ModelProto) -> None:
    add_branches(model, helper.make_graph([], "branch", [], [boolean("secret")], [elsewhere("/etc/passwd")]))


def function_external_data(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["secret"], value=elsewhere("/etc/passwd"))
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("hidden", "secret", [], ["secret"], [constant], opsets))


def nested_branches(model: onnx.ModelProto) -> None:
    """If within If, both branches alike, so that walking them naively takes 2^25 steps."""
    branch = helper.make_graph([], "leaf", [], [boolean("masked")])
    for depth in range(25):
        node = helper.make_node("If", ["condition"], [f"chosen{depth}"], then_branch=branch, else_branch=GraphProto())
        branch = helper.make_graph([node], f"branch{depth}", [], [boolean(f"chosen{depth}")])
    add_branches(model, branch)


def add_branches(model: onnx.ModelProto, branch: GraphProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    node = helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)


def boolean(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.BOOL, [])


def endless_loop(model: onnx.ModelProto) -> None:
    turns = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    again = helper.make_node("Identity", ["go"], ["on"])
    body = helper.make_graph([again], "body", [turns, boolean("go")], [boolean("on")])
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    model.graph.node.insert(0, helper.make_node("Loop", ["turns", ""], [], body=body))


def scanning(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Scan", ["patches"], ["scanned"], body=body, num_scan_inputs=1))


def multiplying_functions(model: onnx.ModelProto) -> None:
    """Each function calls the one before twice: 2^30 nodes once they are unfolded."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("laughs", 1)]
    for depth in range(30):
        call = ("Identity", "") if depth == 0 else (f"laugh{depth - 1}", "laughs")
        nodes = [helper.make_node(call[0], [a], [b], domain=call[1]) for a, b in (("x", "y"), ("y", "z"))]
        model.functions.append(helper.make_function("laughs", f"laugh{depth}", ["x"], ["z"], nodes, opsets))


def training_information(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "step"


def unknown_field(model: onnx.ModelProto) -> None:
    model.graph.MergeFromString(b"\xc2\x3e\x06hidden")


def namesakes(model: onnx.ModelProto) -> None:
    """Two tensors of one name, of which a checker may read one and a runtime the other."""
    tensor = stored_weights(model, first(model, "Gemm"))
    model.graph.initializer.add().CopyFrom(tensor)


def gigantic_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="gigantic", data_type=TensorProto.FLOAT, dims=[2**40, 2**20])


def wrapped_tensor(model: onnx.ModelProto) -> None:
    """2^64 values, which a careless product takes for none."""
    model.graph.initializer.add(name="wrapped", data_type=TensorProto.UINT8, dims=[2**32, 2**32])


def gigantic_type(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("gigantic", TensorProto.FLOAT, [2**62, 2**62]))


def gigantic_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**31, 2**31]), "shape"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["gigantic"]))


def huge_integer(model: onnx.ModelProto) -> None:
    (padding,) = [attribute for attribute in first(model, "Conv").attribute if attribute.name == "pads"]
    padding.ints[:] = [2**40] * 4


def too_many_nodes(model: onnx.ModelProto) -> None:
    for i in range(100_000):
        model.graph.node.add(op_type="Transpose", input=["patches"], output=[f"copy{i}"])


def too_many_initializers(model: onnx.ModelProto) -> None:
    for i in range(100_000):
        model.graph.initializer.add(name=f"ballast{i}", data_type=TensorProto.UINT8, raw_data=b"\0")


def too_many_inputs(model: onnx.ModelProto) -> None:
    first(model, "Conv").input.extend([""] * 1_000_000)


def third_class(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def heavy_convolution(model: onnx.ModelProto) -> None:
    """Each tensor is small, but one patch takes 2.5 thousand million products."""
    weights = np.ones((96, 3, 31, 31), np.int8)
    add_dead_end(model, weights, "Conv", [first(model, "Conv").input[0]], pads=[15] * 4)


def growing_batch(model: onnx.ModelProto) -> None:
    """Rows of pixels become patches, so that the tensor per patch seems 288 times smaller than it is."""
    rows = helper.make_node("Flatten", [first(model, "Conv").input[0]], ["rows"], axis=3)
    add_dead_end(model, np.ones((96, 20_000), np.int8), "Gemm", ["rows"])
    model.graph.node.insert(len(model.graph.node) - 2, rows)


def add_dead_end(
    model: onnx.ModelProto, weights: np.ndarray, operator: str, inputs: list[str], pads: list[int] | None = None
) -> None:
    """A layer whose output nobody reads."""
    values = {"dead.weights": weights, "dead.scale": np.float32(0.01), "dead.zero": np.int8(0)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in values.items())
    model.graph.node.append(helper.make_node("DequantizeLinear", list(values), ["dead.real"]))
    model.graph.node.append(helper.make_node(operator, [*inputs, "dead.real"], ["dead.end"], pads=pads))


def nan_scale(model: onnx.ModelProto) -> None:
    scale = initializer(model, producer(model, first(model, "Gemm").input[0]).input[1])
    set_values(scale, np.full_like(numpy_helper.to_array(scale), np.nan))


def infinite_answers(model: onnx.ModelProto) -> None:
    """Scales that are finite, but whose product is not."""
    gemm = first(model, "Gemm")
    for name in gemm.input[:2]:
        scale = initializer(model, producer(model, name).input[1])
        set_values(scale, np.full_like(numpy_helper.to_array(scale), 1e38))


def constant_answers(model: onnx.ModelProto) -> None:
    tensor = stored_weights(model, first(model, "Gemm"))
    set_values(tensor, np.zeros_like(numpy_helper.to_array(tensor)))


def float_convolution(model: onnx.ModelProto) -> None:
    """Let a Conv read what another computed in float, before it was quantized."""
    for conv in (node for node in model.graph.node if node.op_type == "Conv"):
        quantize = producer(model, producer(model, conv.input[0]).input[0])
        if quantize.op_type == "QuantizeLinear":
            conv.input[0] = quantize.input[0]
            return
