/** A Graph sandbox of a test's own, the connector that reads it, and the administrator who changes it. */

import type { GraphSandboxOptions } from "../../sandbox/graph/server.ts";
import { GraphSandbox } from "../../sandbox/graph/server.ts";
import type { GraphPatience } from "../../src/engine/connectors/graph/connector.ts";
import { GraphConnector } from "../../src/engine/connectors/graph/connector.ts";
import type { GraphSettings } from "../../src/engine/connectors/graph/settings.ts";
import { graphSettingsSchema } from "../../src/engine/connectors/graph/settings.ts";
import type {
  Connector,
  ConnectorContext,
  ConnectorDefinition,
  ImportEntry,
  ImportPage,
  ImportStart,
} from "../../src/engine/ports/connector.ts";

/** What the guest recipe imports. */
export const guestAttributes = [
  "accountEnabled",
  "createdDateTime",
  "displayName",
  "externalUserState",
  "givenName",
  "id",
  "mail",
  "otherMails",
  "surname",
  "userPrincipalName",
  "userType",
] as const;

export const guestDefinition: ConnectorDefinition = {
  name: "AADMA",
  objectTypes: [{ name: "user", attributes: guestAttributes }],
};

/** Asks again at once, as the real connector does after a while. */
export const impatient: GraphPatience = {
  retry: { attemptsMax: 4, budgetMs: 3_000, firstDelayMs: 5, delayMaxMs: 20, callBudgetMs: 60_000 },
  replicationMs: 20,
};

export function graphSettings(sandbox: GraphSandbox, changes: Partial<GraphSettings> = {}): GraphSettings {
  return graphSettingsSchema.parse({
    baseUrl: sandbox.url,
    caCertificate: sandbox.ca,
    accessToken: sandbox.token,
    ...changes,
  });
}

export interface GraphBench {
  readonly sandbox: GraphSandbox;
  readonly connector: GraphConnector;
  /** Lines that connectors of this bench logged. */
  readonly log: string[];
  readonly context: ConnectorContext;
  /** Another connector on the same tenant, as another process would make it. */
  connect(changes?: Partial<GraphSettings>, definition?: ConnectorDefinition): GraphConnector;
  /** @returns the answer's body; throws on a refusal */
  admin(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

export async function openGraph(
  options: GraphSandboxOptions = {},
  changes: Partial<GraphSettings> = {},
): Promise<GraphBench> {
  const sandbox = await GraphSandbox.start({ guests: 12, members: 6, seed: 7, ...options });
  const connectors: GraphConnector[] = [];
  const log: string[] = [];
  const connect: GraphBench["connect"] = (more = {}, definition = guestDefinition) => {
    const connector = new GraphConnector(
      definition,
      graphSettings(sandbox, { ...changes, ...more }),
      impatient,
    );
    connectors.push(connector);
    return connector;
  };
  return {
    sandbox,
    connector: connect(),
    log,
    context: { log: (line) => log.push(line) },
    connect,
    async admin(method, path, body) {
      const answer = await fetch(`${sandbox.adminUrl}/admin${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
      return text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
    },
    async close() {
      await Promise.all(connectors.map((connector) => connector.close()));
      await sandbox.close();
    },
  };
}

export interface Imported {
  readonly pages: readonly ImportPage[];
  /** The last entry of each anchor. */
  readonly entries: ReadonlyMap<string, ImportEntry>;
  readonly complete: NonNullable<ImportPage["complete"]>;
}

/** Runs an import to its end. */
export async function importAll(
  connector: Connector,
  start: ImportStart,
  context: ConnectorContext,
): Promise<Imported> {
  const pages: ImportPage[] = [];
  for await (const page of connector.importPages(start, context)) pages.push(page);
  const complete = pages.at(-1)?.complete;
  if (complete === undefined) throw new Error("The import ended without its last page.");
  const entries = new Map<string, ImportEntry>();
  for (const entry of pages.flatMap((page) => page.entries)) entries.set(entry.anchor ?? "", entry);
  return { pages, entries, complete };
}
