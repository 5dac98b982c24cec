import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const rows = readFileSync(join(root, "docs/reliability.md"), "utf8")
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .filter((cells) => /^\d+$/.test(cells[1] ?? ""));

test("the faults are numbered without a gap, and there are many", () => {
  expect(rows.map(([, number]) => Number(number))).toEqual(rows.map((_, index) => index + 1));
  expect(rows.length).toBeGreaterThanOrEqual(40);
});

test.each(rows.map((cells) => [cells[2]!, cells[4]!]))("%s: its test is there", (_, named) => {
  const [, file, title] = /^(test\/\S+\.ts): (.+)$/.exec(named) ?? [];
  expect(file, named).toBeDefined();
  expect(existsSync(join(root, file!)), file).toBe(true);
  expect(readFileSync(join(root, file!), "utf8")).toContain(title!);
});
