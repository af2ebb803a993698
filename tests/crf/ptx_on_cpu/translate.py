"""PTX, what nvcc makes of kernels, as C++ for a CPU. What each instruction does is in machine.h.

Of PTX it knows what the kernels need: no functions but entries, no warp operations. What it does not know does not
compile. PTX ISA 9.0, "Instruction Set".
"""

import re
import sys
from pathlib import Path

CPP = {
    **{f"s{n}": f"int{n}_t" for n in (8, 16, 32, 64)},
    **{f"{kind}{n}": f"uint{n}_t" for kind in "ub" for n in (8, 16, 32, 64)},
    "f32": "float",
    "f64": "double",
    "pred": "bool",
}
SPECIAL = {"%tid.x": "t.index", "%ntid.x": "t.block->threads", "%ctaid.x": "t.block->index"}


class Kernel:
    """One entry, as a frame for its registers and a function that runs a thread of it up to the next barrier."""

    def __init__(self, number: int, name: str, parameters: str, body: str) -> None:
        self.number, self.name = number, name
        self.parameters = re.findall(r"(\w+)(?:\[\d+\])?\s*(?:,|$)", parameters.strip())
        self.frame = ["int at = 0;"]
        self.barriers = 0
        self.opcodes: dict[str, int] = {}
        lines = (line.strip() for line in body.splitlines())
        self.lines = [code for line in lines if line not in ("", "{", "}") and (code := self.statement(line))]

    def statement(self, text: str) -> str:
        text = re.sub(r"\s+", " ", text)
        if text.endswith(":"):
            return f"{text.lstrip('$')}"
        text = text.removesuffix(";")
        if text.startswith((".reg", ".local")):
            if (declaration := self.declaration(text)) not in self.frame:
                self.frame.append(declaration)
            return ""
        if text.startswith("."):
            return ""
        predicate, text = re.fullmatch(r"(?:@(!?%\w+) )?(.*)", text).groups()
        opcode, _, rest = text.partition(" ")
        operands = re.findall(r"\{[^}]*\}|\[[^]]*\]|[^, ]+", rest)
        code = self.instruction(*opcode.split("."), operands=operands)
        if not opcode.startswith(("mov.", "cvta.", "ld.param.")):  # of these nothing remains
            code = f"COUNT({self.opcodes.setdefault(opcode, len(self.opcodes))}); {code}"
        if predicate is None:
            return code
        condition = f"{'!' * predicate.startswith('!')}{self.register(predicate.lstrip('!'))}"
        return f"if ({condition}) {{ {code} }}"

    def declaration(self, text: str) -> str:
        if local := re.fullmatch(r"\.local \.align (\d+) \.b8 (\w+)\[(\d+)\]", text):
            return f"alignas({local[1]}) char {local[2]}[{local[3]}];"
        kind, name, count = re.fullmatch(r"\.reg \.(\w+) %(\w+)(?:<(\d+)>)?", text).groups()
        return f"{CPP[kind]} {name}[{count or 1}];"

    def register(self, text: str) -> str:
        name, number = re.fullmatch(r"%([a-zA-Z]+)(\d*)", text).groups()
        return f"f.{name}[{number or 0}]"

    def value(self, text: str, cpp: str) -> str:
        """An operand as a value of a C++ type."""
        if text in SPECIAL:
            return f"as<{cpp}>({SPECIAL[text]})"
        if text.startswith("%"):
            return f"as<{cpp}>({self.register(text)})"
        if float_bits := re.fullmatch(r"0([fd])([0-9A-F]+)", text):
            return f"as<{cpp}>({'uint32_t' if float_bits[1] == 'f' else 'uint64_t'}(0x{float_bits[2]}))"
        if re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", text):
            return f"{cpp}({text}{'ll' if abs(int(text, 0)) < 2**63 else 'ull'})"
        return f"as<{cpp}>({self.symbol(text)})"

    def symbol(self, name: str) -> str:
        local = any(f" {name}[" in line for line in self.frame)
        return f"address(f.{name})" if local else "uint32_t(0)"  # the one array of a block's shared memory

    def address(self, text: str) -> str:
        base, _, offset = text.strip("[]").partition("+")
        start = self.register(base) if base.startswith("%") else self.symbol(base)
        return f"{start} + {offset or 0}"

    def instruction(self, name: str, *modifiers: str, operands: list[str]) -> str:
        special = getattr(self, f"_{name}", None)
        if special is not None:
            return special(modifiers, operands)
        *how, kind = (m for m in modifiers if m != "to")
        cpp = CPP[kind]
        sources = ", ".join(self.value(o, cpp) for o in operands[1:])
        return f"assign({self.register(operands[0])}, {'_'.join(['ptx', name, *how])}<{cpp}>({sources}));"

    def _mov(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        cpp, (to, source) = CPP[modifiers[0]], operands
        if source.startswith("{"):
            return f"assign({self.register(to)}, joined({', '.join(map(self.register, _members(source)))}));"
        if to.startswith("{"):
            low, high = map(self.register, _members(to))
            return f"split({self.value(source, cpp)}, {low}, {high});"
        return f"assign({self.register(to)}, {self.value(source, cpp)});"

    def _bra(self, _: tuple[str, ...], operands: list[str]) -> str:
        return f"goto {operands[0].lstrip('$')};"

    def _ret(self, *_: object) -> str:
        return "return f.at = kEnded;"

    def _bar(self, *_: object) -> str:
        self.barriers += 1
        return f"return f.at = {self.barriers}; case {self.barriers}:;"

    def _cvta(self, _: tuple[str, ...], operands: list[str]) -> str:
        return f"assign({self.register(operands[0])}, {self.value(operands[1], 'uint64_t')});"

    def _setp(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        comparison, cpp = modifiers[0], CPP[modifiers[1]]
        a, b = (self.value(o, cpp) for o in operands[1:])
        return f"{self.register(operands[0])} = ptx_setp_{comparison}<{cpp}>({a}, {b});"

    def _selp(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        cpp = CPP[modifiers[0]]
        a, b = (self.value(o, cpp) for o in operands[1:3])
        return f"assign({self.register(operands[0])}, {self.register(operands[3])} ? {a} : {b});"

    def _cvt(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        *how, to, source = modifiers
        function = "_".join(["ptx", "cvt", *how])
        value = self.value(operands[1], CPP[source])
        return f"assign({self.register(operands[0])}, {function}<{CPP[to]}, {CPP[source]}>({value}));"

    def _ld(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        *how, kind = modifiers
        cpp, space = CPP[kind], next(s for s in how if s in ("param", "global", "shared", "local"))
        registers = _members(operands[0])
        size = f"{len(registers)} * sizeof({cpp})"
        if space == "param":
            name, _, offset = operands[1].strip("[]").partition("+")
            at = f"static_cast<const char*>(arguments[{self.parameters.index(name)}]) + {offset or 0}"
        else:
            at = f"t.{space}_read({self.address(operands[1])}, {size})"
        loads = [f"assign({self.register(r)}, load<{cpp}>(from, {i}));" for i, r in enumerate(registers)]
        return f"{{ const char* from = {at}; if (!from) return f.at = kFaulted; {' '.join(loads)} }}"

    def _st(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        *how, kind = modifiers
        cpp, space = CPP[kind], next(s for s in how if s in ("global", "shared", "local"))
        sources = _members(operands[1])
        at = f"t.{space}_write({self.address(operands[0])}, {len(sources)} * sizeof({cpp}))"
        stores = [f"store<{cpp}>(to, {i}, {self.value(s, cpp)});" for i, s in enumerate(sources)]
        return f"{{ char* to = {at}; if (!to) return f.at = kFaulted; {' '.join(stores)} }}"

    def _atom(self, modifiers: tuple[str, ...], operands: list[str]) -> str:
        space, operation, *_, kind = modifiers  # between them, whether it is of several numbers together
        if space != "global":
            raise ValueError(f"unknown to the stand-in: atom.{'.'.join(modifiers)}")
        cpp, registers = CPP[kind], _members(operands[0])
        changes = []
        for i, register in enumerate(registers):
            values = ", ".join(self.value(_members(o)[i], cpp) for o in operands[2:])
            change = f"ptx_atom_{operation}<{cpp}>(to + {i} * sizeof({cpp}), {values})"
            changes.append(f"assign({self.register(register)}, {change});")
        at = f"t.global_write({self.address(operands[1])}, {len(registers)} * sizeof({cpp}))"
        return f"{{ char* to = {at}; if (!to) return f.at = kFaulted; {' '.join(changes)} }}"

    def cpp(self) -> str:
        frame, function = f"Frame{self.number}", f"kernel{self.number}"
        entry, opcodes = f'"{self.name}", {function}', ", ".join(f'"{o}"' for o in self.opcodes)
        return "\n".join(
            [
                f"struct {frame} {{ {' '.join(self.frame)} }};",
                f"int {function}(Thread& t, void* frame, void* const* arguments) {{",
                f"{frame}& f = *static_cast<{frame}*>(frame);",
                "[[maybe_unused]] uint64_t* const counts = t.counts;",
                "switch (f.at) { case 0:",
                *self.lines,
                "}",
                "return f.at = kEnded;",
                "}",
                f"const char* const opcodes{self.number}[] = {{ {opcodes}, nullptr }};",
                f"const Registered registered{self.number}({entry}, sizeof({frame}), opcodes{self.number});",
            ]
        )


def _members(vector: str) -> list[str]:
    return vector.strip("{}").replace(" ", "").split(",")


def translate(ptx: str) -> str:
    """C++ that registers every entry of a PTX module with the stand-in runtime."""
    ptx = re.sub(r"//.*", "", ptx)
    if unknown := re.search(r"^\.(visible )?(func|const|global).*", ptx, re.MULTILINE):
        raise ValueError(f"unknown to the stand-in: {unknown[0]}")
    if len(shared := re.findall(r"\.shared .*?(\w+)\[", ptx)) > 1:
        raise ValueError(f"unknown to the stand-in: several arrays in shared memory, {', '.join(shared)}")
    entries = re.findall(r"\.entry (\w+)\((.*?)\)[^{]*\{\n(.*?)\n\}", ptx, re.DOTALL)
    kernels = [Kernel(i, *entry).cpp() for i, entry in enumerate(entries)]
    return "\n".join(['#include "machine.h"', "namespace {", *kernels, "}"])


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    out.write_text(translate(source.read_text()))
