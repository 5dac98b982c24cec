/**
 * `npm run try -- 'Left([id], 20)' --attributes guest.json`: evaluates an expression and prints its value as JSON, or
 * what is wrong with it. Attributes and parameters are JSON files, or JSON itself: `--attributes '{"id": "x"}'`; so is
 * `--imported`, which ImportedValue reads instead of the attributes.
 * Exit codes: 0 a value, 1 a problem of the expression, 2 wrong arguments.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { z } from "zod";
import { tryExpressionSchema } from "../src/api/requests.ts";
import { renderProblem } from "../src/engine/core/expression/expression.ts";
import { tryExpression } from "../src/engine/core/expression/tryOut.ts";
import { dateTimeFromMs } from "../src/engine/core/values.ts";

const usage = `npm run try -- '<expression>' [--attributes FILE|JSON] [--imported FILE|JSON] [--parameters FILE|JSON] [--language aadc|mim]`;

/** A mistake in the arguments; the message is for the person who made it. */
class UsageError extends Error {}

try {
  process.exitCode = main();
} catch (error) {
  const isArgument = (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true;
  if (!(error instanceof UsageError) && !isArgument) throw error;
  console.error(`${(error as Error).message}\n${usage}`);
  process.exitCode = 2;
}

function main(): number {
  const { values: options, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      attributes: { type: "string" },
      imported: { type: "string" },
      parameters: { type: "string" },
      language: { type: "string" },
    },
  });
  const [expression, ...more] = positionals;
  if (expression === undefined || more.length > 0)
    throw new UsageError("Give one expression, in quotes that the shell leaves alone.");
  const input = tryExpressionSchema.safeParse({
    expression,
    attributes: readJson("--attributes", options.attributes),
    importedAttributes: readJson("--imported", options.imported),
    parameters: readJson("--parameters", options.parameters),
    language: options.language,
  });
  if (!input.success) throw new UsageError(z.prettifyError(input.error));
  const tried = tryExpression(input.data, { now: dateTimeFromMs(Date.now()), random: Math.random });
  const problems = tried.kind === "value" ? tried.warnings : tried.problems;
  for (const problem of problems) console.error(renderProblem(expression, problem));
  if (tried.kind === "problems") return 1;
  console.log(JSON.stringify(tried.value, null, 2));
  return 0;
}

function readJson(option: string, fileOrText: string | undefined): unknown {
  if (fileOrText === undefined) return undefined;
  const isText = fileOrText.trimStart().startsWith("{");
  try {
    return JSON.parse(isText ? fileOrText : readFileSync(fileOrText, "utf8"));
  } catch (error) {
    throw new UsageError(
      `${option} ${isText ? "" : `${fileOrText} `}cannot be read: ${(error as Error).message}`,
    );
  }
}
