import { afterAll, beforeAll } from "vitest";
import { AzureTables } from "../../src/engine/stores/tables/azureTables.ts";
import { tablesConformance } from "../conformance/tables.ts";
import { startAzurite } from "../support/azurite.ts";

let azurite: Awaited<ReturnType<typeof startAzurite>>;
beforeAll(async () => {
  azurite = await startAzurite();
});
afterAll(() => azurite.stop());

tablesConformance("Azurite", () => new AzureTables({ connectionString: azurite.connectionString }));
