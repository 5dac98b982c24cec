import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { ExampleResult } from "../../src/engine/core/expression/functions/define.ts";
import { families } from "../../src/engine/core/expression/functions/functions.ts";
import { mimFunctions } from "../../src/engine/core/expression/functions/mim.ts";
import type { Language } from "../../src/engine/core/expression/syntax.ts";
import { type Input, isError, outcome, problemsOf } from "./expressionSupport.ts";

function expectOutcome(actual: ExampleResult, expected: unknown) {
  if (isError(expected) && expected.$error === null) expect(actual).toHaveProperty("$error");
  else expect(actual).toEqual(expected);
}

const tables = { ...families, MIM: mimFunctions };

describe.each(Object.entries(tables))("functions of %s", (family, table) => {
  test.each(Object.entries(table))("%s does what its examples say", (_, definition) => {
    for (const [source, expected, input] of definition.examples) {
      const actual = outcome(source, input, { language: family === "MIM" ? "mim" : "aadc" });
      expect
        .soft(isError(expected) && expected.$error === null ? isError(actual) : actual, source)
        .toEqual(isError(expected) && expected.$error === null ? true : expected);
    }
  });

  test("every function has at least three examples, with NULL or absence, and a list where it takes one", () => {
    for (const [name, definition] of Object.entries(table)) {
      const { examples } = definition;
      expect(examples.length, name).toBeGreaterThanOrEqual(3);
      if (definition.kind === "form" || definition.parameters.length === 0) continue;
      const withNull = examples.some(
        ([source, , input]) => /NULL|Null\(\)/.test(source) || input === undefined,
      );
      expect(withNull, `${name} with NULL`).toBe(true);
      if (family === "MIM") continue; // its synchronisation rules flow single values
      const lists = examples.some(([, , input]) =>
        Object.values(input?.attributes ?? {}).some(Array.isArray),
      );
      expect(lists, `${name} with several values`).toBe(true);
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
