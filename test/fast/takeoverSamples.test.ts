/**
 * The rules of a real server configuration, read where they stand: `../shared/samples/aadconnect-export`. They are not
 * part of the project, so a clone of it alone skips these tests.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adSettingsSchema } from "../../src/engine/connectors/ad/settings.ts";
import { graphSettingsSchema } from "../../src/engine/connectors/graph/settings.ts";
import type { SettingsSchema } from "../../src/engine/core/configuration.ts";
import { ExpressionError } from "../../src/engine/core/expression/expression.ts";
import { evaluateFlow, FlowError } from "../../src/engine/core/flow.ts";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { readRuleTexts } from "../../src/engine/core/readRules.ts";
import { compileRules } from "../../src/engine/core/ruleCompiler.ts";
import type { AttributeInfo } from "../../src/engine/core/rules.ts";
import {
  type AttributeType,
  type AttributeValue,
  dateTimeFromMs,
  type Value,
} from "../../src/engine/core/values.ts";
import { takenOverContext } from "../../src/engine/takeover/checkTakenOver.ts";
import { readRuleElement } from "../../src/engine/takeover/entraConnectRule.ts";
import { exportedFrom } from "../../src/engine/takeover/exportedRule.ts";
import { reportOf } from "../../src/engine/takeover/report.ts";
import { type ExportFile, takeOver } from "../../src/engine/takeover/takeover.ts";
import { readXml } from "../../src/engine/takeover/xml.ts";

const folder = join(import.meta.dirname, "../../../shared/samples/aadconnect-export");
const isThere = existsSync(folder);

const values: Readonly<Record<AttributeType, fc.Arbitrary<Value>>> = {
  // Texts that the rules look for, beside any.
  string: fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.constantFrom("User", "Contact", "SystemMailbox{1}", "MSOL_x", "a@b.c"),
  ),
  integer: fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(0n, 1n, 2n, 514n, 50000n),
  ),
  boolean: fc.boolean(),
  binary: fc.uint8Array({ maxLength: 40 }),
  dateTime: fc.date({ noInvalidDate: true }).map((date) => dateTimeFromMs(date.getTime())),
  reference: fc
    .string({ maxLength: 12 })
    .map((name) => ({ kind: "reference", dn: `CN=${name.replace(/[^\w]/g, "x")},DC=x` })),
};

/** Values of the declared types; most attributes are absent, as they are in a directory. */
function attributes(
  schema: ReadonlyMap<string, AttributeInfo | null>,
): fc.Arbitrary<ReadonlyMap<string, AttributeValue>> {
  return fc
    .tuple(
      ...[...schema].map(([name, info]) => {
        const value = values[info?.type ?? "string"];
        const some: fc.Arbitrary<AttributeValue> = info?.multiValued
          ? fc.array(value, { minLength: 1, maxLength: 3 })
          : value;
        return fc.option(some, { nil: undefined, freq: 2 }).map((one) => [name, one] as const);
      }),
    )
    .map((all) => new Map(all.filter((entry): entry is [string, AttributeValue] => entry[1] !== undefined)));
}

describe.skipIf(!isThere)(
  "real rules (skipped where ../shared/samples is absent, as in a public clone)",
  () => {
    const files: readonly ExportFile[] = !isThere
      ? []
      : readdirSync(folder, { recursive: true, encoding: "utf8" })
          .filter((name) => name.endsWith(".xml"))
          .map((name) => ({ file: name, text: readFileSync(join(folder, name), "utf8") }));
    const takeover = takeOver(files);
    const written = readRuleTexts(takeover.files.filter(({ file }) => file.startsWith("rules/")));
    const context = {
      ...takenOverContext(written, takeover.connectors, takeover.metaverse),
      parameters: new Set(["Connector.ID", "Domain.FQDN", "Domain.Netbios", "Forest.FQDN", "Forest.Netbios"]),
    };
    const sources = files.filter(({ file }) => file.includes("SynchronizationRule_"));

    test("every rule is taken over, and none needs a decision", () => {
      expect(sources.length).toBeGreaterThan(0);
      expect(written).toHaveLength(sources.length);
      // What to do about Entra itself, which is read and not written here.
      expect(takeover.findings.filter(({ kind }) => kind === "decision").map(({ about }) => about)).toEqual([
        "contoso-onmicrosoft-com-AAD",
      ]);
      expect(reportOf(takeover)).toContain(`| Rules | ${sources.length} |`);
    });

    test("every expression checks, with the types of the exported schemas", () => {
      const compiled = compileRules(written, context);
      expect(compiled.ok ? [] : compiled.problems).toEqual([]);
    });

    test("what is written loads as a configuration, once its app settings are set", () => {
      const settings = {
        CONTOSO_COM_URL: "ldaps://dc.contoso.com",
        CONTOSO_COM_BIND_DN: "CN=sync,DC=contoso,DC=com",
        CONTOSO_COM_BIND_PASSWORD: "x",
      };
      const kinds = new Map<string, SettingsSchema>([
        ["ad", adSettingsSchema],
        ["graph", graphSettingsSchema],
      ]);
      const configuration = readConfiguration(takeover.files, settings, kinds);
      expect(configuration.rules.rules).toHaveLength(sources.length);
      expect(configuration.warnings).toEqual([]);
    });

    test.each(sources.map(({ file, text }) => [file.split("/").at(-1)!, text]))(
      "%s: nothing is lost",
      (file, text) => {
        const exported = readRuleElement(readXml(file, text));
        const again = written.map(exportedFrom).find(({ identifier }) => identifier === exported.identifier);
        expect(again).toEqual(exported);
      },
    );

    test("every rule evaluates on any object with values, offers or that object's error, never with another", () => {
      const compiled = compileRules(written, context);
      if (!compiled.ok) throw new Error("expected to compile");
      let offers = 0;
      for (const rule of compiled.rules.rules) {
        const connector = context.connectorAttributes.get(rule.connector)!.get(rule.connectorObjectType)!;
        const metaverse = context.metaverseAttributes.get(rule.metaverseObjectType)!;
        const [read, target] = rule.direction === "inbound" ? [connector, metaverse] : [metaverse, connector];
        fc.assert(
          fc.property(attributes(read), (object) => {
            const about = {
              attribute: (name: string) => object.get(name),
              importedValue: (name: string) => object.get(name),
              parameter: (name: string) => (name === "Connector.ID" ? rule.connector : "contoso.com"),
              now: dateTimeFromMs(0),
              random: () => 0.5,
            };
            rule.inScope(about);
            for (const flow of rule.flows) {
              try {
                evaluateFlow(rule.name, flow, about, target.get(flow.target) ?? undefined);
                offers++;
              } catch (error) {
                if (!(error instanceof FlowError) && !(error instanceof ExpressionError)) throw error;
                // The checker's promise: an expression that checks never fails for the type of a value.
                expect(error.code).not.toBe("type-mismatch");
              }
            }
          }),
          { numRuns: 15, seed: 7 },
        );
      }
      expect(offers).toBeGreaterThan(1000);
    });
  },
);
