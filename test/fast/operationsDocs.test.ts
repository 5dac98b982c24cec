/** docs/operations.md says what to do about every status, error code and alert that the code knows, and about no other. */
import { globSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { problemTitles } from "../../src/api/responses.ts";
import { evaluationCodes } from "../../src/engine/core/expression/problems.ts";
import { outcomeOf } from "../../src/engine/runs/runTelemetry.ts";

const read = (file: string) => readFileSync(file, "utf8");
const handbook = read("docs/operations.md");

/** The names in the first column of the tables of a chapter, and what the last column says of each. */
function listed(heading: string): ReadonlyMap<string, string> {
  const from = handbook.indexOf(`\n## ${heading}\n`);
  expect(from, heading).toBeGreaterThan(0);
  const chapter = handbook.slice(from, handbook.indexOf("\n## ", from + 1) + 1 || undefined);
  const rows = chapter.split("\n").filter((line) => line.startsWith("| `"));
  return new Map(
    rows.flatMap((row) => {
      const cells = row.split("|").map((cell) => cell.trim());
      return [...cells[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => [name!, cells.at(-2)!] as const);
    }),
  );
}

function literals(pattern: RegExp, files: readonly string[]): Set<string> {
  return new Set(files.flatMap((file) => [...read(file).matchAll(pattern)].map(([, name]) => name!)));
}

test("every status is explained, and no other", () => {
  const sources = globSync("src/engine/**/*.ts");
  const statuses = literals(/"((?:no-start|stopped|completed)-[a-z-]+)"/g, sources);
  for (const kind of ["add", "update", "rename", "disable", "deletion"])
    statuses.add(`stopped-${kind}-threshold-exceeded`);
  for (const other of ["success", "in-progress", "waiting", "not-run"]) statuses.add(other);
  expect([...listed("Statuses").keys()].sort()).toEqual([...statuses].sort());
});

test("whether a cycle goes on is as the protocol has it", () => {
  const goesOn = literals(/"([a-z-]+)"/g, ["src/engine/runs/protocol.ts"]);
  const chapter = /const goesOn = new Set\(\[(.*?)\]\)/s.exec(read("src/engine/runs/protocol.ts"))![1]!;
  const rows = handbook.split("\n").filter((line) => /^\| `[a-z-]+` \| (yes|\*\*no\*\*) \|/.test(line));
  expect(rows.length).toBeGreaterThan(15);
  for (const row of rows) {
    const [, status, answer] = /^\| `([a-z-]+)` \| (yes|\*\*no\*\*)/.exec(row)!;
    expect([status, answer]).toEqual([status, chapter.includes(`"${status}"`) ? "yes" : "**no**"]);
    if (outcomeOf(status!) === "held") expect(answer).toBe("**no**");
  }
  expect(goesOn.size).toBeGreaterThan(10);
});

describe("every error code of objects", () => {
  /** What errors are made of; configuration mistakes have places instead of objects. */
  const files = globSync([
    "src/engine/core/{callExtension,exporting,flow,inbound,outbound,provisioning,staging,synchronize}.ts",
    "src/engine/connectors/**/*.ts",
    "src/engine/runs/*.ts",
  ]);
  /** Where a code is given: to a failure, as a reason, as the name of one. */
  const given =
    /(?:\bcode:|\?\?|\breason:|=|(?:failed|FlowError|ExtensionError)\()\s*"([a-z]+(?:-[a-z]+)+)"/g;
  /** Of those, what is no error of an object. */
  const others = new Set(["watermark-expired", "sync-steps", "no-rule"]);
  const codes = new Set([
    ...literals(given, files),
    ...Object.keys(evaluationCodes),
    ...["type-mismatch", "wrong-option"],
  ]);
  const expected = [...codes].filter(
    (code) => !others.has(code) && !/^(no-start|stopped|completed)-/.test(code),
  );
  const explained = listed("Errors of objects");

  test("is explained, and no other", () => {
    expect([...explained.keys()].sort()).toEqual(expected.sort());
  });

  test("has something to do about it", () => {
    expect([...explained].filter(([, what]) => what.length < 10)).toEqual([]);
  });
});

test("every code of the API is explained, and no other", () => {
  expect([...listed("Codes of the API").keys()].sort()).toEqual(Object.keys(problemTitles).sort());
});

test("every alert has its place, and leads there", () => {
  const bicep = read("infra/modules/alerts.bicep");
  const names = [...bicep.matchAll(/^ {4}name: '([a-z-]+)'$/gm)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThan(4);
  const headings = [...handbook.matchAll(/^### Alert: (.+)$/gm)].map(([, name]) => name!);
  expect(headings.sort()).toEqual(names.sort());
  expect(bicep).toMatch(/docs\/operations\.md#alert-\$\{rule\.name\}/);
  expect(bicep).toContain("docs/operations.md#alert-dead-letters");
});
