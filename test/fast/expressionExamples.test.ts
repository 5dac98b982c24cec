import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { check } from "../../src/engine/core/expression/check.ts";
import { compileExpression, type Result } from "../../src/engine/core/expression/expression.ts";
import type { Definition, ExampleResult } from "../../src/engine/core/expression/functions/define.ts";
import { families } from "../../src/engine/core/expression/functions/functions.ts";
import { mimFunctions } from "../../src/engine/core/expression/functions/mim.ts";
import { parse } from "../../src/engine/core/expression/parse.ts";
import { ProblemList } from "../../src/engine/core/expression/problems.ts";
import type { Language } from "../../src/engine/core/expression/syntax.ts";
import * as types from "../../src/engine/core/expression/types.ts";
import { typeOf } from "../../src/engine/core/flow.ts";
import { attributesFromJson, isMultiValued, type Value, valuesOf } from "../../src/engine/core/values.ts";
import { contextOf, type Input, isError, outcome, problemsOf } from "./expressionSupport.ts";

function expectOutcome(actual: ExampleResult, expected: unknown) {
  if (isError(expected) && expected.$error === null) expect(actual).toHaveProperty("$error");
  else expect(actual).toEqual(expected);
}

const tables = { ...families, MIM: mimFunctions };

describe.each(Object.entries(tables))("functions of %s", (family, table) => {
  const language = family === "MIM" ? "mim" : "aadc";
  test.each(Object.entries(table))("%s does what its examples say", (_, definition) => {
    for (const [source, expected, input] of definition.examples) {
      const actual = outcome(source, input, { language });
      expect
        .soft(isError(expected) && expected.$error === null ? isError(actual) : actual, source)
        .toEqual(isError(expected) && expected.$error === null ? true : expected);
    }
  });

  test("every function has at least three examples, with NULL or absence, and with a list", () => {
    for (const [name, definition] of Object.entries(table)) {
      const { examples } = definition;
      expect(examples.length, name).toBeGreaterThanOrEqual(3);
      if (definition.kind === "function" && definition.parameters.length === 0) continue;
      const withNull = examples.some(([source, , input]) => {
        const compiled = compileExpression(source, { language });
        const read = compiled.ok ? [...compiled.expression.attributes] : [];
        return (
          /NULL|Null\(\)/.test(source) || read.some((attribute) => !(attribute in (input?.attributes ?? {})))
        );
      });
      expect(withNull, `${name} with NULL`).toBe(true);
      const lists = examples.some(([, , input]) =>
        Object.values({ ...input?.attributes, ...input?.importedAttributes }).some(Array.isArray),
      );
      expect(lists, `${name} with several values`).toBe(true);
    }
  });

  test("what an example gives is of the type that the checker expects", () => {
    for (const definition of Object.values<Definition>(table))
      for (const [source, , input] of definition.examples) {
        const problems = new ProblemList(source);
        const tree = parse(source, language, problems);
        const compiled = compileExpression(source, { language });
        if (tree === undefined || !compiled.ok) continue;
        const attributes = new Map(
          Object.entries(attributesFromJson({ ...input?.attributes, ...input?.importedAttributes })).map(
            ([name, value]) => [
              name,
              { type: typeOf(valuesOf(value)[0]!), multiValued: isMultiValued(value) },
            ],
          ),
        );
        const type = check(tree, language, problems, { attributes });
        let result: Result;
        try {
          result = compiled.expression.evaluate(contextOf(input));
        } catch {
          continue; // an example of an error
        }
        if (result === null || (type & types.unknown) !== 0) continue;
        const kinds = Array.isArray(result) ? result.map(types.kindOf) : [types.kindOf(result as Value)];
        if (Array.isArray(result)) kinds.push(types.many);
        for (const kind of kinds) expect.soft(kind & type, source).toBe(kind);
      }
  });
});

test("the table holds the 85 documented functions and those of out-of-box rules", () => {
  const names = Object.values(families).flatMap((family) => Object.keys(family));
  expect(names).toHaveLength(new Set(names).size);
  const undocumented = ["ImportedValue", "ValueCount", "CBin", "Thumbprint"];
  expect(names).toEqual(expect.arrayContaining(undocumented));
  expect(names.length - undocumented.length).toBe(85);
});

interface SharedExample {
  readonly id: string;
  readonly lang: Language;
  readonly expression: string;
  readonly attributes: Input["attributes"];
  readonly importedAttributes?: Input["importedAttributes"];
  readonly params?: Record<string, string>;
  readonly expected: unknown;
}

// The project's own reference material lies beside the project; a public clone does not have it.
const shared = new URL("../../../shared/", import.meta.url);
const examplesFile = new URL("reference/expression-examples.json", shared);
const sampleRules = new URL("samples/aadconnect-export/SynchronizationRules/", shared);

describe.skipIf(!existsSync(examplesFile))(
  "examples of the reference (skipped where ../shared/reference/expression-examples.json is absent)",
  () => {
    const examples: SharedExample[] = existsSync(examplesFile)
      ? JSON.parse(readFileSync(examplesFile, "utf8"))
      : [];
    test.each(examples.map((example) => [example.id, example] as const))("%s", (_, example) => {
      const { expression, lang, attributes, importedAttributes, params, expected } = example;
      const input = {
        attributes: attributes ?? {},
        ...(importedAttributes && { importedAttributes }),
        ...(params && { parameters: params }),
      };
      expectOutcome(outcome(expression, input, { language: lang }), expected);
    });
  },
);

describe.skipIf(!existsSync(sampleRules))(
  "rules of a real Entra Connect export (skipped where ../shared/samples is absent)",
  () => {
    const expressions = new Set<string>();
    for (const file of existsSync(sampleRules) ? readdirSync(sampleRules) : []) {
      const xml = readFileSync(new URL(file, sampleRules), "utf8");
      for (const [, escaped] of xml.matchAll(/<expression>([^<]*)<\/expression>/g)) {
        const names: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
        expressions.add(escaped!.replace(/&(\w+);/g, (whole, name) => names[name] ?? whole));
      }
    }
    test("there are some", () => expect(expressions.size).toBeGreaterThan(60));
    test.each([...expressions])("%s", (source) => {
      const errors = problemsOf(source).filter((problem) => problem.severity === "error");
      expect(errors).toEqual([]);
      const input = {
        attributes: {
          proxyAddresses: ["SMTP:a@b", "smtp:c@d"],
          dn: { $ref: "CN=Joe,DC=contoso,DC=com" },
          cloudAnchor: "User_1",
          objectGUID: { $bin: "EREAAKqqIiK7uzMzzMxERA==" },
          objectSid: { $bin: "AQIAAAAAAAUgAAAAIAIAAA==" },
          userPrincipalName: "joe@contoso.com",
        },
        importedAttributes: {},
        parameters: Object.fromEntries(
          ["Domain.FQDN", "Domain.Netbios", "Forest.FQDN", "Forest.Netbios", "Connector.ID"].map((name) => [
            name,
            "x",
          ]),
        ),
      };
      const actual = outcome(source, input);
      expect(isError(actual) ? actual : undefined).toBeUndefined();
    });
  },
);
