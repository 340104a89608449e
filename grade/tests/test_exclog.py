"""The parser of QEMU's exception log, on logs written here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from grade.deadline import DeadlineError
from grade.exclog import ArmException, ExcLog, Parser, TripleFault, X86Exception, parse

DUMP = b"""\
RAX=0000000000000001 RBX=ff11000000014790 RCX=0000000000000400 RDX=0000000000000000
RSI=0000000000000000 RDI=ffffffffb24ba460 RBP=00000000000010a0 RSP=ffffffffb1c03f30
R8 =ffffffffda200000 R9 =0000000000014790 R10=000000000c4b9000 R11=0000000000000195
R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000014790
RIP=ffffffffb224e246 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0000 0000000000000000 00000000 00000000
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
GDT=     ffffffffb2225000 0000007f
CR0=80050033 CR2=ff11000000014790 CR3=000000000c4b6000 CR4=000010a0
DR6=00000000ffff0ff0 DR7=0000000000000400
CCS=0000000000000001 CCD=0000000000000000 CCO=LOGICB
EFER=0000000000000d01
"""
FAULT = (b"check_exception old: 0xffffffff new 0xe\n"
         b"     7: v=0e e=0011 i=0 cpl=0 IP=0010:ffffffffb224e246 pc=ffffffffb224e246 "
         b"SP=0000:ffffffffb1c03f30 CR2=0000000000400000\n" + DUMP)
FIRMWARE = (b"SMM: enter\nEAX=00000001 EBX=00000000 ECX=00000010 EDX=000f8000\n"
            b"EIP=000eaced EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\nEFER=0000000000000000\n"
            b"SMM: after RSM\nEAX=00000001 EBX=00000000\nEFER=0000000000000000\n"
            b"Servicing hardware INT=0x08\n")


def interrupt(number: int) -> bytes:
    return (b"Servicing hardware INT=0xec\n%6d: v=ec e=0000 i=0 cpl=3 IP=0033:0000000000461000 "
            b"pc=0000000000461000 SP=002b:00007ffe96463b20 env->regs[R_EAX]=0000000000000001\n" % number) + DUMP


def test_a_page_fault_is_read_whole() -> None:
    (e,) = parse(FAULT)
    assert isinstance(e, X86Exception)
    assert (e.number, e.name, e.error, e.cpl, e.cs) == (7, "#PF", 0x11, 0, 0x10)
    assert (e.rip, e.sp, e.cr2) == (0xFFFFFFFFB224E246, 0xFFFFFFFFB1C03F30, 0x400000)
    assert e.fetch and e.present and not e.write and e.is_fault and e.long_mode
    assert (e.regs["RAX"], e.regs["R8"], e.regs["R15"]) == (1, 0xFFFFFFFFDA200000, 0x14790)
    assert (e.regs["CR3"], e.regs["CR4"], e.regs["EFER"], e.regs["RFL"]) == (0xC4B6000, 0x10A0, 0xD01, 0x46)


def test_the_firmwares_lines_are_no_exceptions() -> None:
    assert parse(FIRMWARE) == []
    assert len(parse(FIRMWARE + FAULT + FIRMWARE)) == 1


def test_a_hardware_interrupt_is_a_record_and_no_fault() -> None:
    (e,) = parse(interrupt(3))
    assert isinstance(e, X86Exception)
    assert (e.vector, e.cpl, e.cr2, e.is_fault, e.name) == (0xEC, 3, None, False, "INT 0xec")


def test_a_double_fault_tells_what_was_being_delivered() -> None:
    log = (b"check_exception old: 0xe new 0xe\n     9: v=08 e=0000 i=0 cpl=0 IP=0010:ffffffff80200000 "
           b"pc=ffffffff80200000 SP=0018:ffffc90000000ff8 env->regs[R_EAX]=0000000000000000\n") + DUMP
    (e,) = parse(log)
    assert isinstance(e, X86Exception) and (e.name, e.old) == ("#DF", 14)


def test_a_triple_fault_is_a_record_of_its_own() -> None:
    records = parse(FAULT + b"check_exception old: 0x8 new 0xe\n")
    assert isinstance(records[1], TripleFault) and records[1].vector == 14


def test_records_do_not_depend_on_how_the_stream_is_cut() -> None:
    log = FIRMWARE + FAULT + interrupt(8) + FAULT
    whole = parse(log)
    for size in (1, 7, 64, 1000):
        parser = Parser()
        cut = [r for i in range(0, len(log), size) for r in parser.feed(log[i:i + size])]
        assert [*cut, *parser.finish()] == whole
    assert len(whole) == 3


def test_a_record_is_complete_without_waiting_for_the_next_one() -> None:
    assert len(list(Parser().feed(FAULT))) == 1


def test_an_aarch64_exception_is_read() -> None:
    log = (b"Taking exception 4 [Data Abort] on CPU 1\n...from EL0 to EL1\n...with ESR 0x24/0x92000046\n"
           b"...with FAR 0x400000\n...with SPSR 0x60000000\n...with ELR 0x410abc\n"
           b"...to EL1 PC 0xffff800008010400 PSTATE 0x3c5\n"
           b"Taking exception 2 [SVC] on CPU 0\n...from EL0 to EL1\n"
           b"Taking exception 5 [IRQ] on CPU 0\n...from EL1 to EL1\n...with ESR 0x25/0x96000006\n")
    abort, svc, irq = parse(log)
    assert isinstance(abort, ArmException) and isinstance(svc, ArmException)
    assert (abort.kind, abort.cpu, abort.from_el, abort.to_el) == ("Data Abort", 1, 0, 1)
    assert (abort.ec, abort.esr, abort.far, abort.elr) == (0x24, 0x92000046, 0x400000, 0x410ABC)
    assert svc.kind == "SVC" and svc.far is None
    assert (abort.data, abort.fetch, abort.write, abort.present) == (True, False, True, False)
    assert isinstance(irq, ArmException)    # the ESR of an interrupt is an older exception's
    assert [abort.is_fault, svc.is_fault, irq.is_fault] == [True, False, False]


@pytest.fixture
def pipe() -> Iterator[tuple[ExcLog, int]]:
    r, w = os.pipe()
    os.set_blocking(r, False)
    yield ExcLog(r, max_records=3), w
    os.close(r)
    os.close(w)


def test_since_gives_what_came_after_the_mark(pipe: tuple[ExcLog, int]) -> None:
    log, w = pipe
    os.write(w, FAULT)
    mark = log.mark()
    os.write(w, interrupt(8))
    assert [r.vector for r in log.since(mark) if isinstance(r, X86Exception)] == [0xEC]
    assert len(log.since()) == 2 and len(log.faults()) == 1


def test_a_flood_is_a_verdict_and_is_not_kept(pipe: tuple[ExcLog, int]) -> None:
    log, w = pipe
    for _ in range(10):
        os.write(w, FAULT)
        log.pump()
    assert log.flooded and len(log.since()) == 3
    with pytest.raises(DeadlineError, match="flood"):
        log.wait(lambda r: False, timeout=5)


def test_waiting_for_an_exception_that_does_not_come_shows_the_last_ones(pipe: tuple[ExcLog, int]) -> None:
    log, w = pipe
    os.write(w, FAULT)
    log.pump()
    assert log.wait(lambda r: isinstance(r, X86Exception) and r.fetch, timeout=1)
    with pytest.raises(DeadlineError, match="#PF error 0x11"):
        log.wait(lambda r: False, timeout=0.01)
