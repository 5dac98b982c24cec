import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type SettingsSchema,
  withSchemas,
} from "../../src/engine/core/configuration.ts";
import { editorSchemas } from "../../src/engine/core/configurationSchema.ts";
import { durationMs } from "../../src/engine/core/duration.ts";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { defaultLimits } from "../../src/engine/core/readConnectors.ts";
import { compileRuleTexts } from "../../src/engine/core/readRules.ts";
import type { SchemaAttribute } from "../../src/engine/ports/connector.ts";
import { isStagingMode, readSettings } from "../../src/settings.ts";
import { anyKinds, recipe, recipeSettings } from "./support/guestWorld.ts";

const recipeFiles: readonly ConfigurationFile[] = ["connectors", "rules", "cycles", ""].flatMap((folder) =>
  readdirSync(join("config", folder))
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => ({
      file: join("config", folder, name),
      text: readFileSync(join("config", folder, name), "utf8"),
    })),
);

/** The recipe with one text in one file replaced by another. */
function changed(file: string, from: string, to: string): ConfigurationFile[] {
  const path = `config/${file}`;
  const found = recipeFiles.find((one) => one.file === path)!;
  if (!found.text.includes(from)) throw new Error(`${path} does not hold ${from}`);
  return recipeFiles.map((one) =>
    one.file === path ? { file: path, text: one.text.replace(from, to) } : one,
  );
}
function mistakes(
  files: readonly ConfigurationFile[],
  settings: Record<string, string | undefined> = recipeSettings,
  kinds: ReadonlyMap<string, SettingsSchema> = anyKinds,
): string[] {
  try {
    readConfiguration(files, settings, kinds);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message.split("\n");
    throw error;
  }
}

describe("the guest recipe", () => {
  test("has the five profiles on each connector, and cycles that end with a confirming synchronisation", () => {
    for (const connector of recipe.connectors.values())
      expect(connector.runProfiles.map(({ name }) => name)).toEqual([
        "Full Import (Stage Only)",
        "Full Synchronization",
        "Delta Import (Stage Only)",
        "Delta Synchronization",
        "Export",
      ]);
    expect(recipe.cycles.get("initial")!.steps.map(({ connector, type }) => `${connector} ${type}`)).toEqual([
      "AADMA fullImport",
      "AADMA fullSync",
      "ADMA fullImport",
      "ADMA fullSync",
      "ADMA export",
      "ADMA deltaImport",
      "ADMA deltaSync",
    ]);
    expect(recipe.cycles.get("delta")!.steps.map(({ type }) => type)).toEqual([
      "deltaImport",
      "deltaSync",
      "deltaImport",
      "deltaSync",
      "export",
      "deltaImport",
      "deltaSync",
    ]);
  });
  test("retains absent guests for 30 days, deletes accounts, and limits what takes access away", () => {
    expect(recipe.connectors.get("AADMA")).toMatchObject({
      retainMs: 30 * 86_400_000,
      limits: defaultLimits,
    });
    expect(recipe.connectors.get("ADMA")).toMatchObject({ retainMs: null, deprovision: "delete" });
    expect(recipe.metaverse.get("person")!.deletionRule).toEqual({ kind: "anyOf", connectors: ["AADMA"] });
  });
  test("no attribute is written by rules of both connectors", () => {
    const targets = (connector: string) =>
      recipe.rules.inbound(connector, "user").flatMap((rule) => rule.flows.map(({ target }) => target));
    expect(targets("ADMA").filter((target) => targets("AADMA").includes(target))).toEqual([]);
    expect(recipe.rules.inbound("ADMA", "user").map(({ linkType }) => linkType)).toEqual(["join"]);
  });
});

test("a rule that flows into a password is refused before any directory is asked: what flows is stored", () => {
  const kinds = new Map(anyKinds).set("ad", {
    ...anyKinds.get("ad")!,
    secretAttributes: new Set(["unicodepwd"]),
  });
  const selected = changed("connectors/ADMA.yaml", "      - info", "      - info\n      - unicodePwd");
  const flowing = changed(
    "rules/AD-B2B-OUT.yaml",
    "flows:",
    "flows:\n  - { target: unicodePwd, constant: Welcome1 }",
  );
  const files = selected.map((one) =>
    one.file.endsWith("AD-B2B-OUT.yaml") ? flowing.find(({ file }) => file === one.file)! : one,
  );
  expect(mistakes(selected, recipeSettings, kinds)).toEqual([]);
  expect(mistakes(files, recipeSettings, kinds)).toEqual([
    expect.stringMatching(
      /^config\/rules\/AD-B2B-OUT\.yaml:\d+:\d+ "unicodePwd" is a secret, and what flows is stored\. .* Remove the flow\.$/,
    ),
  ]);
});

describe("mistakes are told with file, line, column and remedy", () => {
  test.each<[string, ConfigurationFile[], string | RegExp]>([
    [
      "a key that is not known",
      changed("rules/AAD-B2B-IN.yaml", "linkType: provision", "linktype: provision"),
      'config/rules/AAD-B2B-IN.yaml:8:1 "linktype" is not known here. Did you mean "linkType"?',
    ],
    [
      "a value that is not known",
      changed("rules/AAD-B2B-IN.yaml", "direction: inbound", "direction: inbund"),
      'config/rules/AAD-B2B-IN.yaml:4:12 "direction" is wrong: it must be "inbound" or "outbound". Did you mean "inbound"?',
    ],
    [
      "an item of a list that is not known",
      changed("rules/AD-B2B-OUT.yaml", "[ACCOUNTDISABLE,", "[ACCOUNTDISABLED,"),
      /^config\/rules\/AD-B2B-OUT\.yaml:30:17 "ownedBits" is wrong: it must be .*"ACCOUNTDISABLE".* Did you mean "ACCOUNTDISABLE"\?$/,
    ],
    [
      "a value of a kind that does not fit",
      changed("rules/AD-B2B-OUT.yaml", "[ACCOUNTDISABLE, SMARTCARD_REQUIRED]", "ACCOUNTDISABLE"),
      /:30:16 "ownedBits" is wrong: expected number, received string, or expected array, received string\.$/,
    ],
    [
      "an unknown attribute in a flow",
      changed("rules/AAD-B2B-IN.yaml", "source: surname", "source: surnme"),
      /^config\/rules\/AAD-B2B-IN\.yaml:\d+:27 "surnme" is not a selected attribute of user in AADMA\. Did you mean "surname"\?/,
    ],
    [
      "a mistake in an expression, at its place in the line",
      changed("rules/AAD-B2B-IN.yaml", "'Left([id], 20)'", "'Left([idd], 20)'"),
      /^config\/rules\/AAD-B2B-IN\.yaml:18:40 .*"idd"/,
    ],
    [
      "an unknown function in an expression",
      changed("rules/AAD-B2B-IN.yaml", "'Left([id], 20)'", "'Lft([id], 20)'"),
      /^config\/rules\/AAD-B2B-IN\.yaml:18:41 .*Lft.*Suggestion: Left/,
    ],
    [
      "a connector in a cycle",
      changed(
        "cycles/delta.yaml",
        "connector: AADMA, profile: Delta Imp",
        "connector: ADDMA, profile: Delta Imp",
      ),
      'config/cycles/delta.yaml:7:18 There is no connector "ADDMA". Did you mean "AADMA"?',
    ],
    [
      "a run profile in a cycle",
      changed("cycles/delta.yaml", "Delta Import (Stage Only)", "Delta Import"),
      /^config\/cycles\/delta\.yaml:5:34 MIMMA has no run profile "Delta Import"\. /,
    ],
    [
      "a kind of connector",
      changed("connectors/ADMA.yaml", "kind: ad", "kind: aad"),
      'config/connectors/ADMA.yaml:4:7 There is no kind of connector "aad". Did you mean "ad"?',
    ],
    [
      "a duration",
      changed("connectors/AADMA.yaml", "P30D", "30 days"),
      /^config\/connectors\/AADMA\.yaml:\d+:11 "retain" is wrong: write an ISO 8601 duration/,
    ],
    [
      "orphans of a connector that disables nothing",
      changed("connectors/MIMMA.yaml", "kind: rules", "kind: rules\norphans: { disableAfter: P7D }"),
      'config/connectors/MIMMA.yaml:6:10 No selected attribute says of an object that it is disabled. Select userAccountControl or accountEnabled, or take "orphans" out.',
    ],
    [
      "a connector in the deletion rule",
      changed("metaverse.yaml", "anyOf: [AADMA]", "anyOf: [AAMA]"),
      /^config\/metaverse\.yaml:8:29 There is no connector "AAMA"\. Did you mean "AADMA"\?/,
    ],
    [
      "a flow with two sources",
      changed("rules/AD-B2B-IN.yaml", "source: info", "source: info, constant: x"),
      /^config\/rules\/AD-B2B-IN\.yaml:\d+:5 .*exactly one of source, constant, expression and extension/,
    ],
    [
      "text that is not YAML",
      changed("rules/AD-B2B-IN.yaml", "direction: inbound", "direction: [inbound"),
      /^config\/rules\/AD-B2B-IN\.yaml:\d+:\d+ This is not YAML/,
    ],
    [
      "a key that is missing",
      changed("cycles/delta.yaml", "name: delta\n", ""),
      'config/cycles/delta.yaml:3:1 "name" is missing. Add "name" here.',
    ],
  ])("%s", (_what, files, expected) => {
    const [first] = mistakes(files);
    if (typeof expected === "string") expect(first).toBe(expected);
    else expect(first).toMatch(expected);
  });

  test("all of them at once", () => {
    const files = changed("rules/AAD-B2B-IN.yaml", "source: surname", "source: surnme").map((one) =>
      one.file.endsWith("AD-B2B-OUT.yaml")
        ? { ...one, text: one.text.replace("source: email", "source: emial") }
        : one,
    );
    expect(mistakes(files)).toEqual([
      expect.stringContaining('"surnme"'),
      expect.stringContaining(
        '"emial" is not an attribute of the metaverse object type person. Did you mean "email"?',
      ),
    ]);
  });
});

describe("app settings", () => {
  test("one that is not set is named where it is used", () => {
    expect(mistakes(recipeFiles, { ...recipeSettings, AD_URL: undefined })).toEqual([
      "config/connectors/ADMA.yaml:6:8 The setting AD_URL is not set. Set AD_URL in the app settings (or local.settings.json).",
    ]);
  });
  test("a Key Vault reference that was not resolved is not taken for a password", () => {
    const settings = {
      ...recipeSettings,
      AD_BIND_PASSWORD: "@Microsoft.KeyVault(SecretUri=https://v/secrets/p)",
    };
    const [first] = mistakes(recipeFiles, settings);
    expect(first).toMatch(
      /^config\/connectors\/ADMA\.yaml:8:17 The Key Vault reference in the setting AD_BIND_PASSWORD/,
    );
    expect(first).not.toContain("https://v/");
  });
  test("a storage account's connection string may leave out its protocol, as other clients allow", () => {
    const keyed = "AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
    const storage = (connection: string) =>
      readSettings({
        Storage: connection,
        ServiceBus: "Endpoint=sb://b;SharedAccessKeyName=k;SharedAccessKey=s",
      }).storage;
    expect(storage(keyed)).toEqual({ connectionString: `DefaultEndpointsProtocol=https;${keyed}` });
    for (const whole of [
      `DefaultEndpointsProtocol=http;${keyed}`,
      "TableEndpoint=https://a.table.core.windows.net;SharedAccessSignature=sv=1",
    ])
      expect(storage(whole)).toEqual({ connectionString: whole });
  });
  test("an optional one has its default, or is left out", () => {
    expect(recipe.connectors.get("AADMA")!.settings).toEqual({
      baseUrl: "https://graph.microsoft.com",
      filter: "userType eq 'Guest'",
      groups: [],
    });
    const given = readConfiguration(
      recipeFiles,
      { ...recipeSettings, GRAPH_BASE_URL: "https://127.0.0.1:1" },
      anyKinds,
    );
    expect(given.connectors.get("AADMA")!.settings).toMatchObject({ baseUrl: "https://127.0.0.1:1" });
  });
  test("what a connector's own schema refuses points at the app setting", () => {
    const strict = z.object({ url: z.string().startsWith("ldaps://", "AD_URL must begin with ldaps://") });
    const kinds = new Map<string, SettingsSchema>([...anyKinds, ["ad", strict]]);
    expect(mistakes(recipeFiles, { ...recipeSettings, AD_URL: "ldap://dc1" }, kinds)).toEqual([
      "config/connectors/ADMA.yaml:6:8 AD_URL must begin with ldaps://. Look at the app setting AD_URL.",
    ]);
  });
});

describe("a set of rules", () => {
  test("has a version that changes with its text, and is rebuilt from stored texts", () => {
    const files = changed("rules/AD-B2B-OUT.yaml", "precedence: 120", "precedence: 130");
    const other = readConfiguration(files, recipeSettings, anyKinds);
    expect(other.rulesVersion).not.toBe(recipe.rulesVersion);
    const rebuilt = compileRuleTexts(other.ruleTexts, recipe);
    expect(rebuilt.rulesVersion).toBe(other.rulesVersion);
    expect(rebuilt.rules.outbound("ADMA", "person")[0]!.precedence).toBe(130);
  });
  test("is checked against the directory's schema once that is known", () => {
    const attribute = (name: string, more: Partial<SchemaAttribute> = {}): [string, SchemaAttribute] => [
      name,
      { name, type: "string", multiValued: false, ...more },
    ];
    const of = (more: Partial<Record<string, Partial<SchemaAttribute>>>) => {
      const names = recipe.connectors.get("ADMA")!.objectTypes[0]!.attributes;
      const attributes = new Map(
        names.map((name) =>
          attribute(name, {
            ...(name === "userAccountControl" && { type: "integer" }),
            ...(/^object(GUID|Sid)$/.test(name) && { type: "binary", readOnly: true }),
            ...more[name],
          }),
        ),
      );
      return withSchemas(recipe, new Map([["ADMA", [{ name: "user", attributes }]]]));
    };
    const problems = (configuration: Configuration) => {
      try {
        compileRuleTexts(configuration.ruleTexts, configuration);
        return [];
      } catch (error) {
        return (error as ConfigurationError).problems;
      }
    };
    expect(problems(of({}))).toEqual([]);
    expect(problems(of({ mail: { readOnly: true } }))).toEqual([
      expect.objectContaining({
        file: "config/rules/AD-B2B-OUT.yaml",
        message: expect.stringContaining('"mail"'),
      }),
    ]);
    expect(problems(of({ userAccountControl: { type: "string" } })).length).toBeGreaterThan(0);
  });
});

test("the editors' schemas are those of the shapes (node scripts/generate-schemas.ts)", () => {
  const stored = Object.fromEntries(
    readdirSync("config/schemas").map((name) => [
      name.replace(".json", ""),
      JSON.parse(readFileSync(join("config/schemas", name), "utf8")),
    ]),
  );
  expect(stored).toEqual(JSON.parse(JSON.stringify(editorSchemas())));
});

describe("reading the folder", () => {
  const empty = mkdtempSync(join(tmpdir(), "configuration-"));
  afterAll(() => rmSync(empty, { recursive: true }));

  test("an empty or missing folder says what is missing", () => {
    expect(() => loadConfiguration(empty, recipeSettings, anyKinds)).toThrow(
      /config\/connectors:1:1 There is no connector\.[\s\S]*metaverse\.yaml:1:1 The file is missing/,
    );
    expect(() => loadConfiguration(join(empty, "nowhere"), recipeSettings, anyKinds)).toThrow(
      expect.objectContaining({
        name: "ConfigurationError",
        message: expect.stringContaining("Set CONFIG_DIR"),
      }),
    );
  });
});

test.each([
  ["P30D", 2_592_000_000],
  ["PT1S", 1_000],
  ["P1DT12H", 129_600_000],
  ["P2W", 1_209_600_000],
  ["PT0.5S", 500],
  ["P", undefined],
  ["PT", undefined],
  ["P1M", undefined],
  ["P1Y", undefined],
  ["30D", undefined],
])("the duration %s is %s ms", (text, ms) => {
  expect(durationMs(text)).toBe(ms);
});

test.each([
  [undefined, false],
  ["", false],
  ["false", false],
  [" False ", false],
  ["true", true],
  ["TRUE ", true],
  ["yes", true],
])("STAGING_MODE %j keeps exports back: %j", (value, isOn) => {
  expect(isStagingMode({ STAGING_MODE: value })).toBe(isOn);
});
