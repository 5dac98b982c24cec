import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { tablesConformance } from "../conformance/tables.ts";

tablesConformance("memory", () => new MemoryTables());
