"""How Python enters a kernel: a function of Python's own kind that looks at the arguments, unpacks them and calls it.

It is made by LLVM and kept beside the kernel. What it is given decides nothing: arguments of any other form than it was
made for are turned down. It looks into the objects as every extension module does, by CPython's and numpy's C interface
(PyArrayObject_fields in numpy/ndarraytypes.h; PyFloatObject, PyVarObject, PyTupleObject; PyDoubleScalarObject and its
like).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils
from numba.core import types as numba_types
from numba.np import arrayobj

from stream.codec.kept.elf import Unfit
from stream.codec.kept.forms import SAME, ArrayForm, Form, ScalarForm, TupleForm

NAME = "inbeam_entry"
PREFIX = "inbeam."
REFUSED, FAILED = "refused", "failed"
"""Names of the two objects that the function returns where it does not give the kernel's own result."""
HEAD = object.__basicsize__
DATA, AXES, SHAPE, STRIDES, DTYPE, FLAGS = (HEAD + place for place in (0, 8, 16, 24, 40, 48))
"""Of an array's fields."""
C_ORDER, F_ORDER, ALIGNED, WRITABLE = 1, 2, 0x100, 0x400
MEMBERS = tuple.__basicsize__

types: Any = numba_types
make_array: Any = arrayobj.make_array
populate_array: Any = arrayobj.populate_array
declared: Any = cgutils.get_or_insert_function
byte, word, number = ir.IntType(8), ir.IntType(64), ir.IntType(32)
pointer = byte.as_pointer()


def entry(overload: Any, forms: Sequence[Form], *, release: bool) -> bytes:
    """An object file with the function NAME (METH_FASTCALL). release: the lock of the interpreter, during the call.

    Names that it needs: those of Python's functions; with PREFIX: REFUSED, FAILED, none and true; python.X and
    numpy.X for the classes in SAME; type.N and dtype.N for the class and the numpy type of the Nth part of the
    arguments, in the order of `forms.parts`. Raises Unfit.
    """
    module = overload.library.codegen.create_library("inbeam").create_ir_module("inbeam")
    _Entry(overload, module, release).build(forms)
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    target = binding.Target.from_default_triple().create_target_machine(opt=2, reloc="static", codemodel="large")
    found: bytes = target.emit_object(parsed)
    return found


class _Entry:
    def __init__(self, overload: Any, module: ir.Module, release: bool) -> None:
        self.overload, self.module, self.release = overload, module, release
        self.context = overload.target_context
        function = ir.Function(module, ir.FunctionType(pointer, [pointer, pointer.as_pointer(), word]), NAME)
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.refused = function.append_basic_block("refused")
        self.given, self.count = function.args[1], function.args[2]
        self.parts = 0

    def build(self, forms: Sequence[Form]) -> None:
        """The whole function."""
        builder, described = self.builder, self.overload.fndesc
        with builder.goto_block(self.refused):
            self._return(self._named(REFUSED))
        self._insist(builder.icmp_unsigned("==", self.count, word(len(forms))))
        objects = [builder.load(builder.gep(self.given, [word(place)])) for place in range(len(forms))]
        kinds = described.argtypes
        values = [self._value(*each) for each in zip(objects, forms, kinds, strict=True)]
        kernel = ir.Function(
            self.module,
            self.context.call_conv.get_function_type(described.restype, kinds),
            described.llvm_func_name,
        )
        state = self._call("PyEval_SaveThread", pointer) if self.release else None
        status, result = self.context.call_conv.call_function(builder, kernel, described.restype, kinds, values)
        if state is not None:
            self._call("PyEval_RestoreThread", ir.VoidType(), state)
        with builder.if_then(status.is_error, likely=False):
            self._return(self._named(FAILED))
        if isinstance(described.restype, types.NoneType):
            self._return(self._named("none"))
        else:
            builder.ret(self._object(result, described.restype))

    def _value(self, found: Any, form: Form, kind: Any) -> Any:
        """The kernel's argument out of a Python object."""
        place, self.parts = self.parts, self.parts + 1
        if isinstance(form, ScalarForm):
            return self._scalar(found, form, kind, place)
        self._insist(self._is(found, f"type.{place}"))
        if isinstance(form, TupleForm) and isinstance(kind, types.BaseTuple):
            if len(form.members) != len(kind.types):
                raise Unfit("a tuple of another length")
            length = self._field(found, HEAD, word)
            self._insist(self.builder.icmp_unsigned("==", length, word(len(form.members))))
            members = [self._field(found, MEMBERS + 8 * each, pointer) for each in range(len(form.members))]
            values = [self._value(*each) for each in zip(members, form.members, kind.types, strict=True)]
            return self.context.make_tuple(self.builder, kind, values)
        if isinstance(form, ArrayForm) and isinstance(kind, types.Array):
            return self._array(found, form, kind, place)
        raise Unfit(f"an argument of type {kind}")

    def _array(self, found: Any, form: ArrayForm, kind: Any, place: int) -> Any:
        if (kind.ndim, kind.layout, kind.mutable) != (form.axes, form.order, form.writable):
            raise Unfit(f"{form} was compiled as {kind}")
        builder = self.builder
        self._insist(self._same(self._field(found, DTYPE, pointer), f"dtype.{place}"))
        self._insist(builder.icmp_unsigned("==", self._field(found, AXES, number), number(form.axes)))
        looked, wanted = ALIGNED | WRITABLE, ALIGNED | (WRITABLE if form.writable else 0)
        looked |= C_ORDER if form.order == "C" else C_ORDER | F_ORDER
        wanted |= {"C": C_ORDER, "F": F_ORDER, "A": 0}[form.order]
        flags = builder.and_(self._field(found, FLAGS, number), number(looked))
        self._insist(builder.icmp_unsigned("==", flags, number(wanted)))
        shape, strides = (
            [self._field(self._field(found, at, pointer), 8 * axis, word) for axis in range(form.axes)]
            for at in (SHAPE, STRIDES)
        )
        array = make_array(kind)(self.context, builder)
        data = builder.bitcast(self._field(found, DATA, pointer), array.data.type)
        size = self.context.get_constant(types.intp, form.dtype.itemsize)
        populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
        return array._getvalue()

    def _scalar(self, found: Any, form: ScalarForm, kind: Any, place: int) -> Any:
        builder, wanted = self.builder, self.context.get_value_type(kind)
        if form.kind is type(None) and isinstance(kind, types.NoneType):
            self._insist(self._is(found, f"type.{place}"))
            return self.context.get_dummy_value()
        if form.kind not in SAME:
            if np.dtype(form.kind).name != str(kind):
                raise Unfit(f"{form} was compiled as {kind}")
            self._insist(self._is(found, f"type.{place}"))
            return self._field(found, HEAD, wanted)
        if kind != {bool: types.boolean, int: types.int64, float: types.float64}[form.kind]:
            raise Unfit(f"{form} was compiled as {kind}")
        of_numpy = self._is(found, f"numpy.{form.kind.__name__}")
        self._insist(builder.or_(of_numpy, self._is(found, f"python.{form.kind.__name__}")))
        if form.kind is float:
            return self._field(found, HEAD, wanted)
        if form.kind is bool:
            there = builder.icmp_unsigned("!=", self._field(found, HEAD, byte), byte(0))
            return builder.select(of_numpy, there, self._same(found, "true"))
        value = builder.alloca(word)
        with builder.if_else(of_numpy) as (then, otherwise):
            with then:
                builder.store(self._field(found, HEAD, word), value)
            with otherwise:
                builder.store(self._integer(found), value)
        return builder.load(value)

    def _integer(self, found: Any) -> Any:
        """Of a Python int; one that does not fit is refused."""
        builder = self.builder
        value = self._call("PyLong_AsLongLong", word, found)
        with builder.if_then(builder.icmp_signed("==", value, word(-1)), likely=False):
            wrong = self._call("PyErr_Occurred", pointer)
            with builder.if_then(builder.icmp_unsigned("!=", wrong, pointer(None)), likely=False):
                self._call("PyErr_Clear", ir.VoidType())
                builder.branch(self.refused)
        return value

    def _object(self, value: Any, kind: Any) -> Any:
        """The Python object of a result."""
        builder, kind = self.builder, types.unliteral(kind)
        if isinstance(kind, types.Boolean):
            return self._call("PyBool_FromLong", pointer, builder.zext(value, word))
        if isinstance(kind, types.Integer):
            wide = builder.sext if kind.signed else builder.zext
            make = "PyLong_FromLongLong" if kind.signed else "PyLong_FromUnsignedLongLong"
            return self._call(make, pointer, wide(value, word))
        if isinstance(kind, types.Float):
            wide_value = builder.fpext(value, ir.DoubleType()) if kind.bitwidth < 64 else value
            return self._call("PyFloat_FromDouble", pointer, wide_value)
        if isinstance(kind, types.BaseTuple) and not isinstance(kind, types.BaseNamedTuple):
            made = self._call("PyTuple_New", pointer, word(len(kind.types)))
            for place, each in enumerate(kind.types):
                member = self._object(builder.extract_value(value, place), each)
                self._call("PyTuple_SetItem", number, made, word(place), member)
            return made
        raise Unfit(f"a result of type {kind}")

    def _return(self, found: Any) -> None:
        """One more reference to what is not made anew."""
        self._call("Py_IncRef", ir.VoidType(), found)
        self.builder.ret(found)

    def _insist(self, right: Any) -> None:
        going = self.builder.append_basic_block("going")
        self.builder.cbranch(right, going, self.refused)
        self.builder.position_at_end(going)

    def _is(self, found: Any, name: str) -> Any:
        """Whether its class is the one of this name."""
        return self._same(self._field(found, 8, pointer), name)

    def _same(self, found: Any, name: str) -> Any:
        return self.builder.icmp_unsigned("==", found, self._named(name))

    def _field(self, found: Any, at: int, kind: Any) -> Any:
        place = self.builder.gep(found, [word(at)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()))

    def _named(self, name: str) -> Any:
        known = self.module.globals.get(PREFIX + name)
        return known if known is not None else ir.GlobalVariable(self.module, byte, PREFIX + name)

    def _call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [each.type for each in arguments])
        return self.builder.call(declared(self.module, kind, name), arguments)
