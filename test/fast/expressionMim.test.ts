import { describe, expect, test } from "vitest";
import { compileExpression } from "../../src/engine/core/expression/expression.ts";
import { print } from "../../src/engine/core/expression/print.ts";
import { outcome, problemsOf } from "./expressionSupport.ts";

const mim = { language: "mim" } as const;
const attributes = { EmployeeType: "Intern", Alias: "bo", Salary: 7 };

describe("MIM's text form", () => {
  test.each([
    ['IIF(Eq(EmployeeType, "Intern"), "t-" + Alias, Alias)', "t-bo"],
    ['Concatenate(Alias, "-", Alias)', "bo-bo"],
    ['Alias + CRLF() + "x"', "bo\r\nx"],
    ["IIF(IsPresent(Missing), Missing, Null())", null],
    ['LeftPad(Salary, 3, "0") + Salary', "0077"],
    ["Eq(Salary, 7)", true],
  ])("%s", (source, expected) => expect(outcome(source, { attributes }, mim)).toEqual(expected));

  test.each([
    ['ConvertStringToGuid("x")', "ConvertStringToGuid: the text is no GUID."],
    ['LeftPad("x", 3, "ab")', "LeftPad: padding is one character."],
  ])("%s names its function as MIM does", (source, message) => {
    expect(outcome(source, { attributes }, mim)).toEqual({ $error: message });
  });

  test.each([
    ["Eq(Salary)", "wrong-argument-count"],
    ['Eq(1, "a")', "type-mismatch"],
    ["LCase(Alias)", "unknown-function"],
    ["uppercase(Alias)", "wrong-case"],
    ["Alias & Alias", "unexpected-token"],
    ["Null(1)", "unexpected-token"],
  ])("%s: %s", (source, code) => expect(problemsOf(source, mim)).toMatchObject([{ code }]));
});

describe("MIM's <fn> form", () => {
  const intern =
    '<fn id="IIF" isCustomExpression="true"><arg><fn id="Eq"><arg>EmployeeType</arg><arg>"Intern"</arg></fn></arg>' +
    '<arg><fn id="+"><arg>"t-"</arg><arg>Alias</arg><arg>"&amp;&#33;"</arg></fn></arg><arg>Alias</arg></fn>';

  test("is the same tree as the text", () => {
    const compiled = compileExpression(intern, mim);
    if (!compiled.ok) throw new Error("expected to compile");
    expect(print(compiled.expression.ast, "mim")).toBe(
      'IIF(Eq(EmployeeType, "Intern"), "t-" + Alias + "&!", Alias)',
    );
    expect(outcome(intern, { attributes }, mim)).toBe("t-bo&!");
  });

  test("a problem points at its element", () => {
    const source = '<fn id="Left">\n  <arg>Alias</arg>\n  <arg>"3"</arg>\n</fn>';
    expect(problemsOf(source, mim)).toMatchObject([{ code: "type-mismatch", line: 3, column: 3 }]);
  });

  test.each([
    ['<!DOCTYPE fn [<!ENTITY x "y">]><fn id="Null"/>', "Document types are not accepted."],
    ['<fn id="Trim"><arg>&x;</arg></fn>', "Only the predefined entities are accepted."],
    ['<fn id="Trim"><arg>a</fn>', "</fn> closes nothing."],
    ['<fn id="Trim"><arg>a</arg>', "</fn> is missing."],
    ["<fn><arg>a</arg></fn>", "A function has no id."],
    ["<script/>", "<script> is not part of an expression."],
    ['<fn id="Trim"><arg>"a</arg></fn>', "The string has no closing quote."],
    ["<fn id='Trim'><arg>a</arg></fn><fn/>", "There is more than one expression."],
    [`${'<fn id="Trim"><arg>'.repeat(600)}a`, "The elements are nested too deeply."],
  ])("%s is refused", (source, message) => {
    expect(problemsOf(source, mim)).toMatchObject([{ code: "invalid-xml", message }]);
  });
});
