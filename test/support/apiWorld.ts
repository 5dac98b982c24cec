/**
 * The whole API in memory: the real functions, routes and engine with the guest recipe, over tables in memory and
 * directories that hold two guests and take what is exported. A test file puts it in the place of the composition:
 *
 *   vi.mock("../../src/composition.ts", () => import("../support/apiWorld.ts"));
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { HttpRequest, type HttpResponseInit, InvocationContext } from "@azure/functions";
import { CoreApi } from "../../sandbox/host/coreApi.ts";
import { matchRoute, routesOf } from "../../sandbox/host/routes.ts";
import { Engine } from "../../src/engine/engine.ts";
import type {
  Connector,
  ExportChange,
  ImportPage,
  ObjectTypeSchema,
  SchemaAttribute,
} from "../../src/engine/ports/connector.ts";
import { defaultTimings } from "../../src/engine/runs/protocol.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { guest, recipe } from "../fast/support/guestWorld.ts";
import { MemoryBus } from "./runWorld.ts";

export const settings = { cycleSchedule: "0 */30 * * * *" };

/** What the world does; a test changes it. */
export const world = {
  now: Date.parse("2026-01-01T00:00:00Z"),
  stagingMode: false,
  pingBus: async () => {},
  ping: { AADMA: async () => {}, ADMA: async () => {} } as Record<string, () => Promise<void>>,
  pings: [] as string[],
  exported: [] as ExportChange[],
};

const types: Readonly<Record<string, Partial<SchemaAttribute>>> = {
  userAccountControl: { type: "integer" },
  accountEnabled: { type: "boolean" },
  objectGUID: { type: "binary", readOnly: true },
  objectSid: { type: "binary", readOnly: true },
};

function schemaOf(connector: string): readonly ObjectTypeSchema[] {
  return recipe.connectors.get(connector)!.objectTypes.map(({ name, attributes }) => ({
    name,
    attributes: new Map(
      attributes.map((attribute) => [
        attribute,
        { name: attribute, type: "string", multiValued: false, ...types[attribute] },
      ]),
    ),
  }));
}

class FakeConnector implements Connector {
  readonly capabilities = {
    deltaImport: true,
    export: true,
    exportBatchMax: 20,
    exportTimeoutMs: 1000,
    dnSyntax: "dn",
  } as const;
  readonly scopeHash = "all";
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  async schema() {
    return schemaOf(this.#name);
  }

  async *importPages(): AsyncGenerator<ImportPage> {
    const guests = this.#name === "AADMA" ? [guest("ann"), guest("bob")] : [];
    const entries = guests.map((attributes) => ({
      kind: "object" as const,
      anchor: attributes.id,
      image: { objectType: "user", dn: attributes.id, attributes: { ...attributes } },
    }));
    yield { entries, resumeAt: null, complete: { watermark: "w" } };
  }

  async readAbsent(anchors: readonly string[]) {
    return anchors.map(() => ({ kind: "gone", absence: "deleted" }) as const);
  }

  async exportBatch(changes: readonly ExportChange[]) {
    world.exported.push(...changes);
    return changes.map(({ id, dn }) => ({ kind: "exported", anchor: `guid-${id}`, dn }) as const);
  }

  async ping() {
    world.pings.push(this.#name);
    await world.ping[this.#name]!();
  }

  async close() {}
}

export const bus = new MemoryBus(true);
let ids = 0;

export const engine = new Engine({
  tables: new MemoryTables(),
  bus,
  pingBus: () => world.pingBus(),
  clock: { now: () => world.now },
  random: () => 0.5,
  randomHex: (digits) => String(++ids).padStart(digits, "0"),
  configuration: recipe,
  openConnector: ({ name }) => new FakeConnector(name),
  stagingMode: () => world.stagingMode,
  timings: defaultTimings,
  log: () => undefined,
});

/** Works through everything that is in the queues. */
export async function work(): Promise<void> {
  for (let next = bus.waiting.shift(); next !== undefined; next = bus.waiting.shift()) {
    world.now = Math.max(world.now, next.at);
    await engine.receive(next.message);
  }
}

/** Runs a run profile to its end. @returns the id of the run. */
export async function run(connector: string, profile: string): Promise<string> {
  world.now += 1000;
  const { id } = await engine.startProfile(connector, profile, "http");
  await work();
  return id;
}

// ---- the functions -----------------------------------------------------------------------------------------------

const core = new CoreApi(() => undefined);
core.install();
const folder = join(import.meta.dirname, "../../src/functions");

/** Every HTTP function of the app, as it registers itself. */
export async function httpFunctions() {
  if (core.functions.size === 0) {
    // Steps and timers answer no requests, and need settings that are not here.
    for (const file of readdirSync(folder).filter((name) => !/^(steps|timers)\./.test(name)))
      await import(join(folder, file));
  }
  return [...core.functions.values()].map(({ metadata, callback }) => {
    const binding = Object.values(metadata.bindings).find(({ type }) => type === "httpTrigger")!;
    return { name: metadata.name, binding, callback };
  });
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as into any JSON
  readonly body: any;
}

/** A request as the host would hand it over. @param path below `/api`, percent-encoded */
export async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const functions = await httpFunctions();
  const routes = routesOf(
    functions.map(({ name, binding }) => ({ functionName: name, binding })),
    "api",
  );
  const url = new URL(`http://127.0.0.1/api${path}`);
  const match = matchRoute(routes, method, url.pathname);
  if (match === undefined) return { status: 404, headers: {}, body: undefined };
  const { callback } = functions.find(({ name }) => name === match.functionName)!;
  const request = new HttpRequest({
    method: method as "GET",
    url: url.href,
    headers,
    query: Object.fromEntries(url.searchParams),
    params: { ...match.parameters },
    ...(body === undefined
      ? {}
      : { body: { string: typeof body === "string" ? body : JSON.stringify(body) } }),
  });
  const context = new InvocationContext({ functionName: match.functionName });
  const answer = (await callback(request, context)) as HttpResponseInit;
  return {
    status: answer.status ?? 200,
    headers: answer.headers as Record<string, string>,
    body: JSON.parse(JSON.stringify(answer.jsonBody ?? JSON.parse(String(answer.body)))),
  };
}
