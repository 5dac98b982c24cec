/** Tables and queues whose requests are counted, because they are the bill. */
import type { Bus } from "../engine/ports/bus.ts";
import type { Tables } from "../engine/ports/tables.ts";
import type { Telemetry } from "../engine/ports/telemetry.ts";

export function countedTables(tables: Tables, telemetry: Telemetry): Tables {
  const count = (table: string, operation: string) =>
    telemetry.metric("vestibule.storage.operations", 1, { table, operation });
  return {
    get(table, partition, row) {
      count(table, "get");
      return tables.get(table, partition, row);
    },
    query(table, query, continuation) {
      count(table, "query");
      return tables.query(table, query, continuation);
    },
    transact(table, partition, operations) {
      if (operations.length > 0) count(table, "transact");
      return tables.transact(table, partition, operations);
    },
  };
}

export function countedBus(bus: Bus, telemetry: Telemetry): Bus {
  return {
    send(queue, message, at) {
      telemetry.metric("vestibule.queue.operations", 1, { queue });
      return bus.send(queue, message, at);
    },
  };
}
