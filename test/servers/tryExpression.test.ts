import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const script = join(import.meta.dirname, "../../scripts/tryExpression.ts");
const attempt = (...args: string[]) =>
  new Promise<{ code: number | string | null | undefined; out: string; err: string }>((resolve) => {
    execFile(process.execPath, [script, ...args], (error, out, err) =>
      resolve({ code: error === null ? 0 : error.code, out, err }),
    );
  });

test("npm run try prints the value, or the line with a caret", async () => {
  const [value, mistake, failure, usage] = await Promise.all([
    attempt("Left([id], 2)", "--attributes", '{"id":"abc"}'),
    attempt('UCase("a") &\n Lef([id], 2)'),
    attempt("Left(id, Len([x]))", "--language", "mim"),
    attempt("1", "--attributes", "no-such-file.json"),
  ]);
  expect(value).toEqual({ code: 0, out: '"ab"\n', err: "" });
  expect(mistake.code).toBe(1);
  expect(mistake.err).toMatch(
    /^error unknown-function at 2:2: .*Lef.*\n {3}Lef\(\[id\], 2\)\n {3}\^{3}\n.*Left\n$/,
  );
  expect(failure).toMatchObject({ code: 1, out: "" });
  expect(usage.code).toBe(2);
  expect(usage.err).toMatch(/no-such-file\.json.*\nnpm run try/);
});
