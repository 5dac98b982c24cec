/**
 * The broker as a process of its own.
 *
 *   node sandbox/broker/main.ts --port 5672 --data .vestibule/queues --queues '{"import-steps":{"lockDurationMs":60000}}'
 *
 * `--queues` is JSON or the path of a JSON file: queue name → options (see QueueOptions). `--port 0` takes a free
 * port. `--exit-with-parent` ends the process when its standard input closes, so a killed supervisor leaves no orphan.
 *
 * Standard output carries one line of JSON, once the broker listens: {"ready":true,"port":…,"connectionString":"…"}.
 * Problems go to standard error. Exit codes: 0 after SIGTERM, SIGINT or the parent's end; 1 when it cannot start.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import * as z from "zod";
import { ServiceBusBroker } from "./broker.ts";

const portNumber = z.coerce.number().int().min(0).max(65_535);
const queues = z.record(
  z.string().regex(/^[a-z0-9][a-z0-9._-]*$/i, "a queue is named by letters, digits, '.', '_' and '-'"),
  z.strictObject({
    lockDurationMs: z.int().min(1).exactOptional(),
    maxDeliveryCount: z.int().min(1).exactOptional(),
    duplicateDetectionWindowMs: z.int().min(0).exactOptional(),
    defaultTtlMs: z.int().min(1).exactOptional(),
  }),
);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      data: { type: "string" },
      queues: { type: "string" },
      "exit-with-parent": { type: "boolean", default: false },
    },
  });
  if (values.queues === undefined) throw new Error("--queues is missing: JSON, or the path of a JSON file.");
  const broker = await ServiceBusBroker.start({
    port: checked("--port", portNumber, values.port),
    queues: checked("--queues", queues, readQueues(values.queues)),
    onProblem: (problem) => console.error(`broker: ${problem.message}`),
    ...(values.data === undefined ? {} : { dataDir: values.data }),
  });

  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    broker.close().then(() => process.exit(0), fail);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  if (values["exit-with-parent"]) process.stdin.on("end", stop).on("close", stop).resume();

  const { port, connectionString } = broker;
  console.log(JSON.stringify({ ready: true, port, connectionString }));
}

function readQueues(text: string): unknown {
  const json = text.trimStart().startsWith("{") ? text : readFileSync(text, "utf8");
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new Error(`--queues is not JSON: ${json === text ? "the argument" : text}`, { cause });
  }
}

function checked<T>(option: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) throw new Error(`${option}: ${z.prettifyError(result.error)}`);
  return result.data;
}

function fail(error: unknown): never {
  console.error(`broker: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

main().catch(fail);
