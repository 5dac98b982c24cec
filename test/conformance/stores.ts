/**
 * What the stores promise, whatever tables lie beneath: they are written once over the port `Tables`, and this suite
 * passes over the tables in memory and over Table Storage (Azurite behind a proxy that does what Azure does on its bad
 * days). `tables.ts` is the suite of the port itself.
 */
import { describe } from "vitest";
import type { StoreBackend } from "../support/storeWorld.ts";
import { objectStores } from "./storesOfObjects.ts";
import { runStores } from "./storesOfRuns.ts";

export function storesConformance(name: string, open: () => StoreBackend): void {
  describe(`${name}: stores`, () => {
    objectStores(open);
    runStores(open);
  });
}
