/** One full import into nothing, in a process of its own: what it needed at most. Its standard input says of what. */
import { text } from "node:stream/consumers";
import { openConnector } from "../src/connectors.ts";
import { adSettingsSchema } from "../src/engine/connectors/ad/settings.ts";
import { graphSettingsSchema } from "../src/engine/connectors/graph/settings.ts";
import type { ConnectorConfiguration } from "../src/engine/core/configuration.ts";

export interface Probe {
  readonly kind: "ad" | "graph";
  readonly settings: Readonly<Record<string, unknown>>;
  readonly attributes: readonly string[];
}

export interface Probed {
  readonly objects: number;
  /** Of the whole process, resident; bytes. */
  readonly peakBytes: number;
}

const { kind, settings, attributes } = JSON.parse(await text(process.stdin)) as Probe;
const schema = kind === "ad" ? adSettingsSchema : graphSettingsSchema;
const connector = openConnector({
  name: "PROBE",
  kind,
  objectTypes: [{ name: "user", attributes }],
  settings: schema.parse(settings),
} as unknown as ConnectorConfiguration);
let objects = 0;
for await (const { entries } of connector.importPages({ kind: "full" }, { log: () => undefined })) {
  for (const entry of entries) if (entry.kind === "object") objects++;
}
await connector.close();
const probed: Probed = { objects, peakBytes: process.resourceUsage().maxRSS * 1024 };
console.log(JSON.stringify(probed));
