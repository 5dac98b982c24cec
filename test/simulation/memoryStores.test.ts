import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { storesConformance } from "../conformance/stores.ts";
import { FaultyTables, TableFaults } from "../support/tableFaults.ts";

storesConformance("memory", () => {
  const calm = new MemoryTables();
  const faults = new TableFaults();
  return { tables: new FaultyTables(calm, faults), calm, faults };
});
