/** docs/semantics.md says of every rule which test shows it, or why it is different or absent. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

interface Row {
  readonly id: string;
  readonly rule: string;
  readonly shown: string;
}

const rows = readFileSync("docs/semantics.md", "utf8")
  .split("\n")
  .filter((line) => /^\| (`[a-z-]+`|[A-Z]\d+) \|/.test(line))
  .map((line): Row => {
    const [id, rule, shown] = line
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim());
    return { id: id!.replaceAll("`", ""), rule: rule!, shown: shown! };
  });

/** ``` `file` "name" ```, once or more. */
const citation = /`(test\/[\w/]+\.test\.ts|test\/conformance\/\w+\.ts)` ((?:"[^"]+"(?:, )?)+)/g;

function testsOf({ shown }: Row): { readonly file: string; readonly name: string }[] {
  return [...shown.matchAll(citation)].flatMap(([, file, names]) =>
    [...names!.matchAll(/"([^"]+)"/g)].map(([, name]) => ({ file: file!, name: name! })),
  );
}

test("every rule has a test that shows it, or the reason why it is different or absent", () => {
  const without = rows.filter(
    (row) => testsOf(row).length === 0 && !/\b(Different|Absent): \w/.test(row.shown),
  );
  expect(without.map(({ id }) => id)).toEqual([]);
  expect(rows.filter(({ rule, shown }) => rule === "" || shown === undefined)).toEqual([]);
  const ids = rows.map(({ id }) => id);
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
});

/** A title is the first argument of `test`, of its variants, or of the suites' own checks. */
function isTitle(text: string, name: string): boolean {
  return text
    .split(`"${name}"`)
    .slice(0, -1)
    .some((before) => /\(\s*$/.test(before));
}

test("every test that is named is in the file that is named", () => {
  const texts = new Map<string, string>();
  const textOf = (file: string) => {
    if (!texts.has(file)) texts.set(file, existsSync(file) ? readFileSync(file, "utf8") : "");
    return texts.get(file)!;
  };
  const missing = rows.flatMap((row) =>
    testsOf(row)
      .filter(({ file, name }) => !isTitle(textOf(file), name))
      .map(({ file, name }) => `${row.id}: ${file} "${name}"`),
  );
  expect(missing).toEqual([]);
  expect(rows.flatMap(testsOf).length).toBeGreaterThan(80);
});

const reference = "../shared/reference/SEMANTICS.md";
const given = existsSync(reference);
describe.skipIf(!given)(given ? "the reference" : `the reference (skipped: ${reference} is not here)`, () => {
  test("has no rule and no error code that the list leaves out, and the list invents none", () => {
    const text = given ? readFileSync(reference, "utf8") : "";
    const rules = text.slice(text.indexOf("### 2.1 "), text.indexOf("### 2.11 "));
    const ids = [...rules.matchAll(/^- ([A-Z]\d+) /gm)].map(([, id]) => id!);
    const codes = text.slice(text.indexOf("### 2.11 "), text.indexOf("### 2.12 ")).split("\n")[1]!;
    const names = [...codes.matchAll(/[a-z]+(?:-[a-z]+)+/g)].map(([name]) => name);
    expect(ids.length).toBeGreaterThan(60);
    expect(rows.map(({ id }) => id).sort()).toEqual([...new Set([...ids, ...names])].sort());
  });
});
