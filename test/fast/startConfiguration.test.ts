/** What a process begins with when the rules of its files do not check. */
import { expect, test } from "vitest";
import { startConfiguration } from "../../src/engine/configuration/startConfiguration.ts";
import { rulesConnectorKind } from "../../src/engine/core/ruleDocuments.ts";
import { StoreError } from "../../src/engine/ports/tables.ts";
import { RuleVersions } from "../../src/engine/ruleVersions.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { RulesStore } from "../../src/engine/stores/rules.ts";
import { recipe, wholeRecipe } from "./support/guestWorld.ts";

const broken = wholeRecipe.ruleTexts.map(({ file, text }) => ({
  file,
  text: text.replace("source: displayName", "source: displaName"),
}));
const start = (tables: MemoryTables, deployment = wholeRecipe, said: string[] = []) =>
  startConfiguration({ ...deployment, ruleTexts: broken }, rulesConnectorKind, tables, (line) =>
    said.push(line),
  );

test("without an active version the start fails, with every mistake", async () => {
  await expect(start(new MemoryTables())).rejects.toThrow(/AAD-B2B-IN\.yaml:\d+:\d+ .*displaName/);
});

test("with one it works on, and says so", async () => {
  const tables = new MemoryTables();
  const versions = new RuleVersions(
    {
      store: new RulesStore(tables),
      clock: { now: () => Date.parse("2026-01-01T00:00:00Z") },
      deployment: wholeRecipe,
      files: () => wholeRecipe.ruleTexts,
      connector: "MIMMA",
      schemas: async () => new Map(),
    },
    wholeRecipe,
  );
  await versions.forRun({ by: "start", why: "The first set of rules." });
  const said: string[] = [];
  expect((await start(tables, wholeRecipe, said)).rulesVersion).toBe(wholeRecipe.rulesVersion);
  expect(said.join()).toContain("version 1 stays active");
});

test("when the tables cannot tell, the mistakes are what is said", async () => {
  const tables = new MemoryTables();
  tables.get = () => Promise.reject(new StoreError("unreachable", "The storage account does not answer."));
  const said: string[] = [];
  await expect(start(tables, wholeRecipe, said)).rejects.toThrow("displaName");
  expect(said.join()).toContain("does not answer");
});

test("without a rules connector there is no version to go back to, and the tables are not asked", async () => {
  const tables = new MemoryTables();
  tables.get = () => Promise.reject(new Error("asked"));
  await expect(start(tables, recipe)).rejects.toThrow("displaName");
});
