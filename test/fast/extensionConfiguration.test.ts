/** Rules extensions as the configuration names them: what is loaded, and what is told when it cannot be. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import { ConfigurationError } from "../../src/engine/core/configuration.ts";
import { EngineWorld } from "../support/engineWorld.ts";
import { anyKinds, recipeSettings } from "./support/guestWorld.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

type Change = Readonly<Record<string, string | readonly [from: string, to: string]>>;

/** The example with other files, or other texts in them. */
function folderWith(changes: Change): string {
  const folder = join(mkdtempSync(join(tmpdir(), "extension-")), "config");
  folders.push(join(folder, ".."));
  cpSync("examples/rules-extension", folder, { recursive: true });
  for (const [file, change] of Object.entries(changes)) {
    const path = join(folder, file);
    mkdirSync(join(path, ".."), { recursive: true });
    if (typeof change === "string") writeFileSync(path, change);
    else {
      const text = readFileSync(path, "utf8");
      if (!text.includes(change[0])) throw new Error(`${file} does not hold ${change[0]}`);
      writeFileSync(path, text.replace(change[0], change[1]));
    }
  }
  return folder;
}
const load = (folder: string): Configuration => loadConfiguration(folder, recipeSettings, anyKinds);
function mistakes(changes: Change): string[] {
  const folder = folderWith(changes);
  try {
    load(folder);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message.replaceAll(folder, "config").split("\n");
    throw error;
  }
}

const guests = "extensions/guests.ts";
const head = 'import type { ConnectorExtension } from "#extension";\n';
const withConnector = (text: string) => `${head}${text}\nexport const metaverse = {};\n`;

describe("mistakes are told with file, place and remedy", () => {
  const cases: readonly [name: string, changes: Change, told: readonly (string | RegExp)[]][] = [
    [
      "a missing file",
      { "connectors/AADMA.yaml": ["extension: guests.ts", "extension: guest.ts"] },
      [
        /^config\/connectors\/AADMA\.yaml:\d+:12 There is no file guest\.ts in config\/extensions\. Did you mean "guests\.ts"\?$/,
      ],
    ],
    [
      "a path instead of a name",
      { "metaverse.yaml": ["extension: guests.ts", "extension: ../guests.ts"] },
      [
        /^config\/metaverse\.yaml:\d+:12 "extension" is wrong: write the name of a file in the folder extensions/,
      ],
    ],
    [
      "missing exports",
      { [guests]: "export const conector = {};\n" },
      [
        /AADMA\.yaml:\d+:12 extensions\/guests\.ts has no export "connector", only conector\. Write "export const connector: ConnectorExtension = \{ … \};" in it\.$/,
        /metaverse\.yaml:\d+:12 extensions\/guests\.ts has no export "metaverse", only conector\./,
      ],
    ],
    [
      "an export of another type",
      { [guests]: withConnector("export const connector = () => ({});") },
      [/"connector" in extensions\/guests\.ts is a function, not an object with entry points\./],
    ],
    [
      "a misspelt entry point",
      { [guests]: withConnector("export const connector = { mapAttributeForImport() {} };") },
      [
        /"mapAttributeForImport" of "connector" in extensions\/guests\.ts is no entry point\. Did you mean "mapAttributesForImport"\?$/,
      ],
    ],
    [
      "an entry point that is no function, and one that is async",
      { [guests]: withConnector("export const connector = { deprovision: 1, async resolveJoin() {} };") },
      [
        /"deprovision" of .* is not a function\./,
        /"resolveJoin" of .* is async\. Entry points decide at once/,
      ],
    ],
    [
      "a flow that no extension maps",
      { [guests]: withConnector("export const connector = {};") },
      [
        /^config\/rules\/AAD-B2B-IN\.yaml:\d+:39 The rules extension of AADMA has no mapAttributesForImport\. Add it to the export "connector"/,
      ],
    ],
    [
      "a flow of a connector without an extension",
      { "rules/AD-B2B-OUT.yaml": ["{ target: mail, source: email }", "{ target: mail, extension: mail }"] },
      [
        /^config\/rules\/AD-B2B-OUT\.yaml:\d+:32 The connector ADMA has no rules extension that could map it\./,
      ],
    ],
    [
      "deprovisioning and deletion without entry points",
      {
        "connectors/ADMA.yaml": ["deprovision: delete", "deprovision: extension"],
        "metaverse.yaml": ["deletionRule: { anyOf: [AADMA] }", "deletionRule: extension"],
      },
      [
        /ADMA\.yaml:\d+:14 The connector has no rules extension that could decide\./,
        /metaverse\.yaml:\d+:19 "metaverse" in extensions\/guests\.ts has no shouldDeleteFromMV\./,
      ],
    ],
    [
      "a module that cannot be loaded",
      { [guests]: "export const connector = {;\n" },
      [/extensions\/guests\.ts cannot be loaded: .*Mend it; npm run typecheck tells more\.$/, /./],
    ],
    [
      "a module that throws while it is loaded",
      { [guests]: 'throw new Error("not today");\n' },
      [/extensions\/guests\.ts cannot be loaded: Error: not today Mend it/, /./],
    ],
    [
      "a module that awaits",
      { [guests]: "export const connector = await Promise.resolve({});\n" },
      [/extensions\/guests\.ts awaits something while it is loaded\. Remove the await/, /./],
    ],
    [
      "TypeScript that must be compiled",
      { [guests]: "enum Colour { Red }\nexport const connector = { Colour };\n" },
      [/uses TypeScript that must be compiled \(an enum or a namespace\)\./, /./],
    ],
  ];
  test.each(cases)("%s", (_name, changes, told) => {
    const found = mistakes(changes);
    expect(found).toHaveLength(told.length);
    told.forEach((one, index) => {
      expect(found[index]).toMatch(one);
    });
  });
});

test("the deployed app has compiled files in the place of the TypeScript ones", () => {
  const folder = folderWith({
    "extensions/guests.js":
      "export const connector = { mapAttributesForImport: () => 'js' };\nexport const metaverse = {};\n",
  });
  rmSync(join(folder, guests));
  const { extension } = load(folder).connectors.get("AADMA")!;
  expect(extension!.file).toBe("guests.ts");
  expect(Object.keys(extension!.entryPoints)).toEqual(["mapAttributesForImport"]);
});

test("an extension may use another module of its folder, and a change of any of them is another version of the rules", () => {
  const shared =
    'import { max } from "./shared.ts";\nexport const connector = { mapAttributesForImport: () => max };\nexport const metaverse = {};\n';
  const versions = ["20", "21"].map((max) => {
    const folder = folderWith({
      [guests]: shared,
      "extensions/shared.ts": `export const max: number = ${max};\n`,
    });
    return load(folder).rulesVersion;
  });
  expect(versions[0]).not.toBe(versions[1]);
});

test("an exception is that guest's error with the stack in the history; the others go on, and so does the cycle", async () => {
  const configuration = load(
    folderWith({
      [guests]: [
        "const { id } = csentry.attributes;",
        'const { id } = csentry.attributes;\n        if (csentry.attributes.displayName === "Bad") throw new Error("bad guest");',
      ],
    }),
  );
  const world = new EngineWorld({ configuration });
  (world.accounts.shape.attributes as Record<string, string>).pwdLastSet = "integer";
  const [good, bad] = [world.addGuest(1), world.addGuest(2, { displayName: "Bad" })];
  const run = await world.cycle("initial");
  expect(run.status).toBe("completed-sync-errors");
  expect(world.accountsOf(good)).toHaveLength(1);
  expect(world.accountsOf(bad)).toHaveLength(0);
  const errors = await world.engine.history.errors(run.id, 1, 10);
  expect(errors).toMatchObject([
    {
      code: "extension-dll-exception",
      anchor: bad,
      rule: "AAD-B2B-IN",
      attribute: "accountName",
      message: "mapAttributesForImport in guests.ts threw Error: bad guest",
    },
  ]);
  expect(errors[0]!.stack).toMatch(
    /^Error: bad guest\n\s+at .*mapAttributesForImport \(extensions\/guests\.ts:\d+:\d+\)$/,
  );

  world.guests.change(bad, { displayName: "Mended" });
  expect((await world.cycle("delta")).status).toBe("success");
  expect(world.accountsOf(bad)).toHaveLength(1);
  expect(await world.outstanding()).toEqual([]);
});

test("a filter that fails when a guest is placed leaves the guest pending, as its error", async () => {
  const configuration = load(
    folderWith({
      [guests]: [
        "export const connector: ConnectorExtension = {",
        'export const connector: ConnectorExtension = {\n  filterForDisconnection({ attributes }) {\n    if (attributes.mail === undefined) throw new TypeError("no mail");\n    return attributes.mail === "out@example.org";\n  },',
      ],
    }),
  );
  const world = new EngineWorld({ configuration });
  (world.accounts.shape.attributes as Record<string, string>).pwdLastSet = "integer";
  const out = world.addGuest(1, { mail: "out@example.org" });
  const bad = world.addGuest(2);
  world.guests.change(bad, { mail: undefined });
  const good = world.addGuest(3);
  const run = await world.cycle("initial");
  expect(run.status).toBe("completed-sync-errors");
  expect(run.steps[1]!.statistics).toMatchObject({ disconnectorFiltered: 1, flowFailure: 1 });
  expect([out, bad, good].map((id) => world.accountsOf(id).length)).toEqual([0, 0, 1]);
  const again = await world.cycle("delta");
  const [error] = await world.engine.history.errors(again.id, 1, 10);
  expect(error).toMatchObject({ code: "extension-dll-exception", retryCount: 1, stack: expect.any(String) });
  world.guests.change(bad, { mail: "in@example.org" });
  expect((await world.cycle("delta")).status).toBe("success");
  expect(world.accountsOf(bad)).toHaveLength(1);
});
