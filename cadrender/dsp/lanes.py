"""Eight float64 lanes, or sixteen float32 ones, in one register, as Numba types.

LLVM's loop vectoriser gives up on most of this package's kernels: too many arrays that might overlap,
interleaved complex numbers, recurrences. Here a kernel says which eight numbers travel together, and LLVM
emits AVX-512, AVX2 or NEON instructions, whichever the machine has (types wider than the registers are split,
which is correct everywhere).

Inside ``@njit`` code: ``load``, ``store`` and ``store_int16`` move eight neighbours, ``splat`` repeats a
scalar, ``fma(a, b, c)`` is ``a * b + c`` rounded once, ``+ - *`` work lane by lane. Addresses are an array
and an element index; bounds are up to the caller.

Sixteen float32 lanes are two halves of eight: shuffles stay within each half. ``register`` and
``set_register`` give arrays of both types the same addresses, counted in registers, so that one kernel serves both.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 8

_F64X8 = ir.VectorType(ir.DoubleType(), WIDTH)
_I1X8 = ir.VectorType(ir.IntType(1), WIDTH)
_I32 = ir.IntType(32)


class Lanes(types.Type):
    """The Numba type of the floats in one register."""

    def __init__(self, element, count):
        self.element = element
        self.count = count
        super().__init__(name=f"Lanes{count}")


lanes = Lanes(types.float64, WIDTH)
float_lanes = Lanes(types.float32, 2 * WIDTH)


def _of(array):
    """The register type for an array of floats."""
    return {types.float64: lanes, types.float32: float_lanes}[array.dtype]


def _vector(type_of_lanes):
    real = ir.DoubleType() if type_of_lanes == lanes else ir.FloatType()
    return ir.VectorType(real, type_of_lanes.count)


def _suffix(type_of_lanes):
    """The type's suffix in the names of LLVM functions."""
    return "v8f64" if type_of_lanes == lanes else "v16f32"


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type))


def _element_pointer(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.gep(data, [index])


def _mask(indices):
    return ir.Constant(ir.VectorType(_I32, len(indices)), list(indices))


def _call(builder, name, result, arguments):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)


@intrinsic
def load(typingctx, array, index):
    """Load eight neighbours of an array of floats or signed integers, starting at element ``index``, as float64."""

    def codegen(context, builder, signature, args):
        element = signature.args[0].dtype
        packed = ir.VectorType(context.get_data_type(element), WIDTH)
        pointer = _element_pointer(context, builder, signature.args[0], *args)
        value = builder.load(builder.bitcast(pointer, packed.as_pointer()), align=element.bitwidth // 8)
        if element == types.float64:
            return value
        convert = builder.sitofp if isinstance(element, types.Integer) else builder.fpext
        return convert(value, _F64X8)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write eight lanes to a float64 array, starting at element ``index``."""

    def codegen(context, builder, signature, args):
        array, index, value = args
        pointer = _element_pointer(context, builder, signature.args[0], array, index)
        builder.store(value, builder.bitcast(pointer, _F64X8.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


def _broadcast(builder, scalar, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), _mask([0] * vector.count))


@intrinsic
def splat(typingctx, scalar):
    """The same float64 in all eight lanes."""

    def codegen(context, builder, signature, args):
        return _broadcast(builder, args[0], _F64X8)

    return lanes(types.float64), codegen


@intrinsic
def splat_like(typingctx, scalar, value):
    """The same float64, rounded if necessary, in all lanes of ``value``'s type."""

    def codegen(context, builder, signature, args):
        vector = _vector(signature.return_type)
        scalar = args[0] if vector == _F64X8 else builder.fptrunc(args[0], vector.element)
        return _broadcast(builder, scalar, vector)

    return value(types.float64, value), codegen


def _register_pointer(context, builder, array_type, array, index):
    vector = _vector(_of(array_type))
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.gep(builder.bitcast(data, vector.as_pointer()), [index])


@intrinsic
def register(typingctx, array, index):
    """The lanes at register ``index`` of an array of floats."""

    def codegen(context, builder, signature, args):
        pointer = _register_pointer(context, builder, signature.args[0], *args)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return _of(array)(array, types.intp), codegen


@intrinsic
def set_register(typingctx, array, index, value):
    """Write lanes to register ``index`` of an array of floats."""

    def codegen(context, builder, signature, args):
        array, index, value = args
        pointer = _register_pointer(context, builder, signature.args[0], array, index)
        builder.store(value, pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """``a * b + c``, of lanes or of three float64, rounded once."""
    name = f"llvm.fma.{_suffix(a) if isinstance(a, Lanes) else 'f64'}"

    def codegen(context, builder, signature, args):
        return _call(builder, name, args[0].type, args)

    return a(a, a, a), codegen


def _reduced(combine):
    """An intrinsic that combines the eight lanes pairwise into a scalar."""

    @intrinsic
    def reduce(typingctx, value):
        def codegen(context, builder, signature, args):
            v = args[0]
            for half in (4, 2, 1):
                swapped = builder.shuffle_vector(v, v, _mask([(i + half) % WIDTH for i in range(WIDTH)]))
                v = combine(builder, v, swapped)
            return builder.extract_element(v, ir.Constant(_I32, 0))

        return types.float64(lanes), codegen

    return reduce


total = _reduced(lambda builder, a, b: builder.fadd(a, b))
highest = _reduced(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _shuffled(indices):
    """An intrinsic that picks eight of the sixteen lanes of ``a`` and ``b``, or does so in each half."""
    in_halves = [i % WIDTH + half + 2 * WIDTH * (i // WIDTH) for half in (0, WIDTH) for i in indices]

    @intrinsic
    def pick(typingctx, a, b):
        def codegen(context, builder, signature, args):
            mask = _mask(indices if a == lanes else in_halves)
            return builder.shuffle_vector(args[0], args[1], mask)

        return a(a, a), codegen

    return pick


# Sixteen interleaved numbers in two registers <-> their even and odd ones.
evens = _shuffled([0, 2, 4, 6, 8, 10, 12, 14])
odds = _shuffled([1, 3, 5, 7, 9, 11, 13, 15])
interleave_low = _shuffled([0, 8, 1, 9, 2, 10, 3, 11])
interleave_high = _shuffled([4, 12, 5, 13, 6, 14, 7, 15])
# The same with the order of the pairs reversed: the mirror bins N-k of bins k.
mirror_low = _shuffled([7, 15, 6, 14, 5, 13, 4, 12])
mirror_high = _shuffled([3, 11, 2, 10, 1, 9, 0, 8])

# The steps of a transposition: single numbers, pairs and fours of two registers side by side.
even_pairs = _shuffled([0, 8, 2, 10, 4, 12, 6, 14])
odd_pairs = _shuffled([1, 9, 3, 11, 5, 13, 7, 15])
even_twos = _shuffled([0, 1, 8, 9, 4, 5, 12, 13])
odd_twos = _shuffled([2, 3, 10, 11, 6, 7, 14, 15])
low_halves = _shuffled([0, 1, 2, 3, 8, 9, 10, 11])
high_halves = _shuffled([4, 5, 6, 7, 12, 13, 14, 15])
high_and_low = _shuffled([4, 5, 6, 7, 8, 9, 10, 11])


@intrinsic
def store_int16(typingctx, array, index, value):
    """Truncate eight lanes toward zero and write them to an int16 array; they must be in its range."""

    def codegen(context, builder, signature, args):
        array, index, value = args
        pointer = _element_pointer(context, builder, signature.args[0], array, index)
        packed = ir.VectorType(ir.IntType(16), WIDTH)
        whole = builder.fptosi(value, ir.VectorType(_I32, WIDTH))
        builder.store(builder.trunc(whole, packed), builder.bitcast(pointer, packed.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


def _unary(llvm_name):
    @intrinsic
    def call(typingctx, value):
        def codegen(context, builder, signature, args):
            return _call(builder, llvm_name, _F64X8, args)

        return lanes(lanes), codegen

    return call


def _chosen(comparison):
    """An intrinsic that takes ``a`` where ``a comparison b`` holds, else ``b``: one instruction, NaN gives b."""

    @intrinsic
    def choose(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return lanes(lanes, lanes), codegen

    return choose


@intrinsic
def with_sign_of(typingctx, a, b):
    """``|a|`` with the sign of ``b``."""

    def codegen(context, builder, signature, args):
        return _call(builder, "llvm.copysign.v8f64", _F64X8, args)

    return lanes(lanes, lanes), codegen


magnitude = _unary("llvm.fabs.v8f64")
smaller = _chosen("<")
larger = _chosen(">")


def _lane_by_lane(operation, instruction):
    @type_callable(operation)
    def typer(context):
        def resolve(a, b):
            return a if isinstance(a, Lanes) and a == b else None

        return resolve

    @lower_builtin(operation, Lanes, Lanes)
    def lower(context, builder, signature, args):
        return getattr(builder, instruction)(*args)


_lane_by_lane(operator.add, "fadd")
_lane_by_lane(operator.sub, "fsub")
_lane_by_lane(operator.mul, "fmul")


# Stereo frames: eight neighbours of an interleaved array, one register per channel.


def _frames(channel):
    """An intrinsic that loads one channel of eight frames as float64, starting at element ``index``."""

    @intrinsic
    def load_channel(typingctx, array, index):
        def codegen(context, builder, signature, args):
            element = signature.args[0].dtype
            pointer = _element_pointer(context, builder, signature.args[0], *args)
            align = element.bitwidth // 8
            if element == types.int16:  # shifts of 32-bit frames: no shuffles, which have only one port
                wide = ir.VectorType(_I32, WIDTH)
                value = builder.load(builder.bitcast(pointer, wide.as_pointer()), align=align)
                half = ir.Constant(wide, [16] * WIDTH)
                if channel == 0:
                    value = builder.shl(value, half)
                return builder.sitofp(builder.ashr(value, half), _F64X8)
            both = ir.VectorType(context.get_data_type(element), 2 * WIDTH)
            value = builder.load(builder.bitcast(pointer, both.as_pointer()), align=align)
            value = builder.shuffle_vector(value, value, _mask(range(channel, 2 * WIDTH, 2)))
            if element == types.float64:
                return value
            convert = builder.sitofp if isinstance(element, types.Integer) else builder.fpext
            return convert(value, _F64X8)

        return lanes(array, types.intp), codegen

    return load_channel


load_left = _frames(0)
load_right = _frames(1)


def _interleaved(builder, left, right):
    return builder.shuffle_vector(left, right, _mask([i // 2 + WIDTH * (i % 2) for i in range(2 * WIDTH)]))


@intrinsic
def store_frames(typingctx, array, index, left, right):
    """Interleave eight frames and write them to an array of floats, starting at element ``index``."""

    def codegen(context, builder, signature, args):
        array, index, left, right = args
        element = signature.args[0].dtype
        pointer = _element_pointer(context, builder, signature.args[0], array, index)
        if element != types.float64:
            narrow = ir.VectorType(ir.FloatType(), WIDTH)
            left, right = builder.fptrunc(left, narrow), builder.fptrunc(right, narrow)
        both = _interleaved(builder, left, right)
        builder.store(both, builder.bitcast(pointer, both.type.as_pointer()), align=element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes, lanes), codegen


@intrinsic
def store_pcm_frames(typingctx, array, index, left, right):
    """Truncate eight frames toward zero to 16 bits (they must be in range) and write them interleaved.

    As they are to an int16 array, divided by 32768 to an array of floats.
    """

    def codegen(context, builder, signature, args):
        array, index, left, right = args
        element = signature.args[0].dtype
        pointer = _element_pointer(context, builder, signature.args[0], array, index)
        wide = ir.VectorType(_I32, WIDTH)
        left, right = builder.fptosi(left, wide), builder.fptosi(right, wide)
        if element == types.int16:
            low = builder.and_(left, ir.Constant(wide, [0xFFFF] * WIDTH))
            both = builder.or_(low, builder.shl(right, ir.Constant(wide, [16] * WIDTH)))
        else:
            real = context.get_data_type(element)
            packed = ir.VectorType(real, 2 * WIDTH)
            both = builder.sitofp(_interleaved(builder, left, right), packed)
            both = builder.fmul(both, ir.Constant(packed, [2.0**-15] * (2 * WIDTH)))
        builder.store(both, builder.bitcast(pointer, both.type.as_pointer()), align=element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes, lanes), codegen


@intrinsic
def pointer_to(typingctx, address, like):
    """Turn an int64 address into a pointer to elements of the array ``like``'s type, for ``numba.carray``."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.int64, like), codegen


@type_callable(operator.neg)
def _type_of_minus(context):
    def resolve(a):
        return a if isinstance(a, Lanes) else None

    return resolve


@lower_builtin(operator.neg, Lanes)
def _minus(context, builder, signature, args):
    return builder.fneg(*args)  # free within a fused multiply-add


# Sixteen float32 lanes as two halves: the left and the right channel.


@intrinsic
def load_both(typingctx, array, index):
    """Load eight frames of an interleaved array as float32, one channel in each half."""

    def codegen(context, builder, signature, args):
        element = signature.args[0].dtype
        pointer = _element_pointer(context, builder, signature.args[0], *args)
        align = element.bitwidth // 8
        if element == types.int16:
            wide = ir.VectorType(_I32, WIDTH)
            value = builder.load(builder.bitcast(pointer, wide.as_pointer()), align=align)
            half = ir.Constant(wide, [16] * WIDTH)
            left, right = builder.ashr(builder.shl(value, half), half), builder.ashr(value, half)
            value = builder.shuffle_vector(left, right, _mask(range(2 * WIDTH)))
        else:
            both = ir.VectorType(context.get_data_type(element), 2 * WIDTH)
            value = builder.load(builder.bitcast(pointer, both.as_pointer()), align=align)
            value = builder.shuffle_vector(
                value, value, _mask([*range(0, 2 * WIDTH, 2), *range(1, 2 * WIDTH, 2)])
            )
        if element == types.float32:
            return value
        convert = builder.sitofp if isinstance(element, types.Integer) else builder.fptrunc
        return convert(value, _vector(float_lanes))

    return float_lanes(array, types.intp), codegen


def _half(first):
    """An intrinsic that widens eight of sixteen float32 lanes to float64."""

    @intrinsic
    def widened(typingctx, value):
        def codegen(context, builder, signature, args):
            half = builder.shuffle_vector(args[0], args[0], _mask(range(first, first + WIDTH)))
            return builder.fpext(half, _F64X8)

        return lanes(value), codegen

    return widened


left_half = _half(0)
right_half = _half(WIDTH)


@intrinsic
def swap_halves(typingctx, value):
    """Swap the left and right halves of sixteen float32 lanes."""

    def codegen(context, builder, signature, args):
        return builder.shuffle_vector(args[0], args[0], _mask([*range(WIDTH, 2 * WIDTH), *range(WIDTH)]))

    return value(value), codegen


def _prefetching(write):
    """An intrinsic that prefetches the cache line of an element about to be read or written."""

    @intrinsic
    def prefetch(typingctx, array, index):
        def codegen(context, builder, signature, args):
            pointer = _element_pointer(context, builder, signature.args[0], *args)
            pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32]),
                "llvm.prefetch.p0",
            )
            builder.call(function, [pointer, *(ir.Constant(_I32, n) for n in (write, 3, 1))])
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return prefetch


prefetch_to_read = _prefetching(0)
prefetch_to_write = _prefetching(1)
