import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { expressionDocs, expressionDocsFile } from "../../scripts/generate-expression-docs.ts";

test("docs/expressions.md is what the function tables say (node scripts/generate-expression-docs.ts writes it)", () => {
  expect(readFileSync(expressionDocsFile, "utf8")).toBe(expressionDocs());
});
