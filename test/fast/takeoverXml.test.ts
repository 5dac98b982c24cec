import { describe, expect, test } from "vitest";
import {
  attributeOf,
  childNamed,
  printXml,
  readXml,
  textOf,
  xmlLimits,
} from "../../src/engine/takeover/xml.ts";

describe("XML of strangers", () => {
  test.each([
    ['<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "Document types are not accepted in an export."],
    ['<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', "Document types are not accepted in an export."],
    ["<a>&x;</a>", "Invalid character entity"],
    ["<a>&nbsp;</a>", "Invalid character entity"],
    ["<a><b></a>", "Unexpected close tag"],
    ["<a>", "Unclosed root tag"],
    ["<a/><b/>", "There is more than one root element."],
    ["<a x=1/>", "Unquoted attribute value"],
    ["no xml", "Non-whitespace before first tag"],
    ["", "There is no element in the file."],
    ["<a>".repeat(10_000), `nested deeper than ${xmlLimits.depthMax} levels`],
  ])("%s is refused, with its place", (text, message) => {
    expect(() => readXml("export.xml", text)).toThrow(message);
    expect(() => readXml("export.xml", text)).toThrow(/^export\.xml:\d+:\d+ /);
  });

  test("the place is that of the mistake", () => {
    expect(() => readXml("export.xml", "<a>\r\n  <b>\r\n    <!DOCTYPE x>\r\n  </b>\r\n</a>")).toThrow(
      "export.xml:3:",
    );
  });

  test.each([
    [{ ...xmlLimits, elementsMax: 2 }, "There are more than 2 elements."],
    [{ ...xmlLimits, lengthMax: 10 }, "The file is larger than 10 characters."],
    [{ ...xmlLimits, depthMax: 1 }, "The elements are nested deeper than 1 levels."],
  ])("%o is a limit", (limits, message) => {
    expect(() => readXml("x.xml", "<a><b/><b/></a>", undefined, limits)).toThrow(message);
  });
});

describe("a tree with places", () => {
  const root = readXml(
    "x.xml",
    '\uFEFF<a>\r\n  <p:b p:n="1">x &amp; &#65;<![CDATA[<y>]]></p:b>\r\n  <c/></a>',
  );

  test("has text, attributes whatever their prefix, and where each element begins", () => {
    expect(textOf(root, "b")).toBe("x & A<y>");
    expect(attributeOf(childNamed(root, "b")!, "n")).toBe("1");
    expect(childNamed(root, "b")!.place).toEqual({ file: "x.xml", line: 2, column: 3 });
    expect(textOf(root, "c")).toBe("");
    expect(textOf(root, "d")).toBeUndefined();
  });

  test("is printed so that it reads the same", () => {
    const printed = printXml(root);
    expect(printXml(readXml("y.xml", printed))).toBe(printed);
    expect(printed).toBe('<a><p:b p:n="1">x &amp; A&lt;y&gt;</p:b><c/></a>');
  });

  test("XML within a value is told by the place of the value", () => {
    const place = { file: "policy.xml", line: 7, column: 9 };
    expect(() => readXml("policy.xml", "<a>", place)).toThrow("policy.xml:7:9");
    expect(readXml("policy.xml", "<a>\n<b/></a>", place).children[0]!.place).toEqual(place);
  });
});
