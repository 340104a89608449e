"""What a class key gives each student: twists that the verbatim reference fails, kernels to diagnose, tickets."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from grade.lab import main
from grade.labs import diagnosis, staff, tree
from grade.labs.classkey import Share, Twist, named, read_key, read_ticket, share, ticket, twist_named
from grade.labs.grading import Only, grade
from grade.labs.prove import apply_patch, broken_kernels
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, all_labs, lab_named, load
from grade.labs.workshop import Workshop

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = [b"first class key, 2027", b"another key of this year", bytes(range(32))]
TWISTED = [lab for lab in all_labs(ROOT, None) if lab.twists]
CLASS = [f"student{i}" for i in range(60)]


@pytest.mark.parametrize("lab", TWISTED, ids=lambda lab: lab.name)
def test_each_key_spreads_a_class_over_all_twists_and_kernels_and_no_two_keys_alike(lab: Lab) -> None:
    letters = list(broken_kernels(lab))
    given = [[share(key, student, lab, letters) for student in CLASS] for key in KEYS]
    for shares in given:
        assert {s.twist.name for s in shares if s.twist} == {t.name for t in lab.twists}
        assert {s.diagnosis for s in shares} == set(letters)
    assert given[0] != given[1] != given[2] != given[0]
    assert given[0] == [share(KEYS[0], student, lab, letters) for student in CLASS]


@pytest.mark.parametrize("lab", TWISTED, ids=lambda lab: lab.name)
def test_a_twist_is_the_same_on_every_architecture_and_has_a_solution_on_each(lab: Lab) -> None:
    for arch in lab.architectures:
        other = load(lab.folder, arch)
        assert share(KEYS[0], "a", other, ["a", "b"]) == share(KEYS[0], "a", lab, ["a", "b"])
        stems = [p.stem for p in tree.patches(lab.folder / "twists", arch)]
        assert sorted(stems) == sorted(t.name for t in lab.twists)


@pytest.mark.parametrize("lab", TWISTED, ids=lambda lab: lab.name)
def test_every_broken_kernel_has_an_answer_in_the_labs_own_words(lab: Lab) -> None:
    for arch in lab.architectures:
        kernels = broken_kernels(load(lab.folder, arch))
        assert kernels
        for patch in kernels.values():
            answer = diagnosis.parse(diagnosis.answer_of(patch), patch.name)
            assert set(answer) == {"cpu", "function", "cause"} and answer["cause"] in lab.causes
            assert any(f"\n{answer['function']}(" in (ROOT / name).read_text() for name in load(lab.folder, arch).editable)


def test_a_ticket_says_what_the_key_gave(tmp_path: Path) -> None:
    lab = lab_named(ROOT, "stack-guard")
    for student in CLASS[:9]:
        own = share(KEYS[1], student, lab, ["a", "b"])
        (tmp_path / ".ticket").write_text(ticket(student, [(lab, own)]))
        assert read_ticket(tmp_path, lab) == own
    (tmp_path / ".ticket").unlink()
    assert read_ticket(tmp_path, lab) == Share()


@pytest.mark.parametrize(("text", "complaint"), [
    ("x = ", "ticket"), ("stack-guard = 3\n", "no table"), ('[stack-guard]\ntwist = "wide-guard"\nvalue = 1\n', "no twist"),
    ('[stack-guard]\ntwist = "wide-guard"\n', "value is missing")])
def test_a_ticket_that_was_changed_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / ".ticket").write_text(text)
    with pytest.raises(SpecError, match=complaint):
        read_ticket(tmp_path, lab_named(ROOT, "stack-guard"))


def test_a_key_that_is_missing_or_short_and_a_name_that_is_a_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no class key"):
        read_key(tmp_path / "none")
    (tmp_path / "short").write_text("1234\n")
    with pytest.raises(SpecError, match="at least"):
        read_key(tmp_path / "short")
    with pytest.raises(SpecError, match="no student's name"):
        share(KEYS[0], "../x", lab_named(ROOT, "stack-guard"), [])


def test_a_name_is_one_students_however_it_is_written() -> None:
    lab = lab_named(ROOT, "stack-guard")
    for name in ("\u00c9lise", "J\u00fcrgen.M\u00fcller@uni", "\u0141ukasz", "\u0905\u0928\u0941\u0937\u094d\u0915\u093e", "Zo\u00eb-2"):
        assert named(unicodedata.normalize("NFD", name)) == named(name) == name
        assert all(share(key, unicodedata.normalize("NFD", name), lab, ["a", "b"]) == share(key, name, lab, ["a", "b"])
                   for key in KEYS)
    for wrong in ("", "-\u00e9", "_x", ".x", "\u00e9/x", "a b", "a\n", "\u0301", "\u00e9" * 101, "\u6f22" * 90):
        with pytest.raises(SpecError, match="no student's name"):
            named(wrong)


def test_a_plain_name_has_the_share_that_it_always_had() -> None:
    """What was given out is not drawn anew when the grader changes."""
    given = [share(KEYS[0], name, lab_named(ROOT, "stack-guard"), ["a", "b"]) for name in ("ann", "bob", "Cy_3+x@uni-z.org")]
    assert [(s.twist.name, s.twist.value, s.diagnosis) for s in given if s.twist] == [
        ("report-cpu", 0, "b"), ("report-cpu", 0, "b"), ("report-offset", 0, "a")]


@pytest.mark.parametrize(("roster", "complaint"), [
    (None, "no roster: .*: No such file"), ("Ren\u00e9e\n".encode("latin-1"), "a roster is a text in UTF-8"),
    ("Ren\u00e9e\n".encode() + unicodedata.normalize("NFD", "Ren\u00e9e\n").encode(), "stands there twice")])
def test_a_roster_that_cannot_be_used_is_explained_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                                 roster: bytes | None, complaint: str) -> None:
    if roster is not None:
        (tmp_path / "roster").write_bytes(roster)
    assert main(["tickets", str(tmp_path / "roster"), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert re.search(complaint, said) and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_tickets_are_written_for_a_roster_and_a_diagnosis_is_compared(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lab = lab_named(ROOT, "stack-guard")
    monkeypatch.setattr(staff, "read_key", lambda path: KEYS[2])
    (tmp_path / "roster").write_bytes("\ufeffann\r\nbob\n\n\u00c9lise\n".encode())
    assert main(["tickets", str(tmp_path / "roster"), str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ann.ticket", "bob.ticket", "\u00c9lise.ticket"]
    (tmp_path / ".ticket").write_bytes((tmp_path / "out/\u00c9lise.ticket").read_bytes())
    assert read_ticket(tmp_path, lab) == staff.share_of(lab, "E\u0301lise")
    answer = tmp_path / "work" / "labs" / lab.folder.name / "diagnosis.toml"
    answer.parent.mkdir(parents=True)
    (tmp_path / "work/.ticket").write_bytes((tmp_path / "out/bob.ticket").read_bytes())
    right = broken_kernels(lab)[read_ticket(tmp_path / "work", lab).diagnosis]
    words = ["diagnosis", "stack-guard", "--from", str(tmp_path / "work"), "--student", "bob"]
    for text, said in (("", "0 of 3 right"), ('cpu = 1\ncause = "lock-held"\n', "1 of 3 right; wrong or missing: function, cause"),
                       (diagnosis.answer_of(right), ": right")):
        answer.write_text(text)
        capsys.readouterr()
        assert main(words) == 0 and said in capsys.readouterr().out


def test_the_form_for_a_diagnosis_says_nothing_until_its_lines_are_filled_in(tmp_path: Path) -> None:
    lab = next(lab for lab in all_labs(ROOT) if lab.causes)
    path = tmp_path / "labs" / lab.folder.name / diagnosis.FILE
    path.parent.mkdir(parents=True)
    form = tree.notes(lab)[str(path.relative_to(tmp_path))].decode()
    assert diagnosis.said(lab, tmp_path) == {}
    path.write_text(form)
    assert diagnosis.said(lab, tmp_path) == {} and diagnosis.open_questions(lab, {}) == ["cpu", "function", "cause"]
    filled = form.replace("# cpu = 0", "cpu = 1").replace("# function =", "function =")
    path.write_text(filled.replace('# cause = ""', f'cause = "{lab.causes[-1]}"'))
    said = diagnosis.said(lab, tmp_path)
    assert said == {"cpu": 1, "function": "", "cause": lab.causes[-1]} and diagnosis.open_questions(lab, said) == []
    for wrong in (filled.replace('# cause = ""', 'cause = "bad luck"'), filled + "cpu = 'both'\n", "\0", 'cpu = "0"\n'):
        path.write_text(wrong)
        with pytest.raises(SpecError, match=diagnosis.FILE):
            diagnosis.said(lab, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lab", TWISTED, ids=lambda lab: lab.name)
def test_under_every_key_the_verbatim_reference_loses_the_named_check_and_an_answer_to_the_twist_does_not(
        lab: Lab, arch: str, tmp_path: Path) -> None:
    lab = load(lab.folder, arch)
    twists: set[Twist] = {own.twist for key in KEYS for student in CLASS[:2] if (own := share(key, student, lab, [])).twist}
    assert len(twists) > 1
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        reference = workshop.take(ROOT)
        for i, twist in enumerate(sorted(twists, key=lambda t: (t.name, t.value))):
            assert twist == twist_named(lab, twist.name, twist.value)
            only = Only(frozenset([twist.fails]))
            answer = reference
            for patch in tree.patches(lab.folder / "twists", arch):
                if patch.stem == twist.name:
                    answer = apply_patch(answer, patch, tmp_path)
            for files, passes in ((reference, False), (answer, True)):
                result = grade(workshop, files, 1, f"twist-{i}-{passes}", only, twist)
                check = next(c for c in result.checks if c.name == twist.fails)
                assert check.decided and check.passed == passes, f"{twist}: {check.seen}"
