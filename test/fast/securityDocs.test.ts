/** docs/security.md names, for every stop, the test that executes it. */
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const rows = readFileSync("docs/security.md", "utf8")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter((cells) => /^\d+$/.test(cells[1] ?? ""));

test("the stops are numbered without a gap", () => {
  expect(rows.map(([, number]) => Number(number))).toEqual(rows.map((_, index) => index + 1));
  expect(rows.length).toBeGreaterThan(50);
});

test.each(rows.map((cells) => [cells[2]!, cells[4]!]))("%s: its test is there", (_, named) => {
  const [, file, title] = /^(test\/\S+\.ts): (.+)$/.exec(named) ?? [];
  expect(file, named).toBeDefined();
  expect(existsSync(file!), file).toBe(true);
  expect(readFileSync(file!, "utf8")).toContain(title!);
});
