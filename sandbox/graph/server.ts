/**
 * The Graph sandbox: one tenant behind HTTPS on the loopback, with the administrator's endpoint beside it.
 *
 * HTTPS with an authority of its own, because the Graph client sends no token over plain HTTP.
 */

import { randomUUID, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { adminApi } from "./admin.ts";
import type { GraphAnswer, GraphRequest } from "./answers.ts";
import { failure } from "./answers.ts";
import { graphApi } from "./api.ts";
import { createServerCertificate } from "./certificates.ts";
import type { TenantState } from "./dataFolder.ts";
import { openFolder, openMemory } from "./dataFolder.ts";
import type { DeltaManners } from "./delta.ts";
import { mildManners } from "./delta.ts";
import type { Fault } from "./faults.ts";
import { faultAnswer, faultQueue } from "./faults.ts";
import { badRequest, GraphFault } from "./odata.ts";
import type { Json } from "./properties.ts";
import { stateTokens } from "./stateTokens.ts";
import { TenantStore } from "./store.ts";
import type { TenantOptions } from "./tenant.ts";
import { generateTenant } from "./tenant.ts";

export interface GraphSandboxOptions extends Partial<TenantOptions> {
  /** Where the tenant lives on; without one it ends with the sandbox. */
  readonly dataDir?: string;
  /** 0 or absent: the port of the last start from this folder if it is free, else any. */
  readonly port?: number;
  readonly manners?: Partial<DeltaManners>;
}

const address = "127.0.0.1";
const bodyMaxBytes = 4 * 1024 * 1024;

export class GraphSandbox {
  readonly url: string;
  readonly adminUrl: string;
  /** The authority's certificate, PEM. */
  readonly ca: string;
  readonly caFile: string | undefined;
  readonly token: string;
  readonly tenant: TenantStore;
  private readonly servers: readonly Server[];

  private constructor(state: TenantState, tenant: TenantStore, graph: Server, admin: Server) {
    this.url = `https://localhost:${portOf(graph)}`;
    this.adminUrl = `http://${address}:${portOf(admin)}`;
    this.ca = state.authority.certificate;
    this.caFile = state.caFile;
    this.token = state.token;
    this.tenant = tenant;
    this.servers = [graph, admin];
  }

  /** @throws Error when the folder holds another tenant, or the port that was asked for is taken */
  static async start(options: GraphSandboxOptions = {}): Promise<GraphSandbox> {
    const { dataDir, port, manners: wantedManners, seed, guests, members } = options;
    const wanted: Partial<TenantOptions> = {
      ...(seed !== undefined && { seed }),
      ...(guests !== undefined && { guests }),
      ...(members !== undefined && { members }),
    };
    const state = dataDir === undefined ? await openMemory(wanted) : await openFolder(dataDir, wanted);
    const store = new TenantStore(generateTenant(state.tenant), state.past, state.record);
    const faults = faultQueue();
    const manners = { current: { ...mildManners, ...wantedManners } };
    const counts = requestCounts();
    const api = graphApi({
      store,
      tokens: stateTokens(state.tenant.stateKey),
      manners: () => manners.current,
      intercept: (method, target) => {
        const fault = faults.take(method, target);
        return fault && faultAnswer(fault, { headers: {} });
      },
      countRequest: counts.add,
    });

    const { certificate, privateKey } = await createServerCertificate(state.authority);
    const graph = createHttpsServer({ key: privateKey, cert: certificate }, (incoming, outgoing) => {
      const received = receive(incoming);
      const fault = faults.take(incoming.method ?? "GET", incoming.url ?? "/");
      const answered = received.then((request) => {
        if (request instanceof GraphFault) return failure({ headers: headersOf(incoming) }, request);
        const refused = unauthorized(request, state.token);
        return (fault && faultAnswer(fault, request)) ?? refused ?? api.answer(request);
      });
      answered
        .then((answer) => send(incoming, outgoing, answer, fault))
        .catch((error: unknown) => {
          fail(outgoing, error);
        });
    });
    const administer = adminApi({ store, faults, manners, requestCounts: counts.read });
    const admin = createHttpServer((incoming, outgoing) => {
      receive(incoming)
        .then((request) => {
          const answer =
            request instanceof GraphFault
              ? { status: request.status, body: { error: { code: "invalid", message: request.message } } }
              : administer(request);
          outgoing.writeHead(answer.status, { "Content-Type": "application/json; charset=utf-8" });
          outgoing.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
        })
        .catch((error: unknown) => fail(outgoing, error));
    });

    try {
      await listen(graph, port || undefined, state.tenant.port);
      await listen(admin, undefined, state.tenant.adminPort);
    } catch (error) {
      graph.close();
      throw error;
    }
    state.rememberPorts(portOf(graph), portOf(admin));
    return new GraphSandbox(state, store, graph, admin);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
  }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Listens on the wanted port, which must be free, or else on the usual one if it is free, or else on any. */
async function listen(server: Server, wanted: number | undefined, usual: number | undefined): Promise<void> {
  const tryPort = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, address, () => {
        server.off("error", reject);
        resolve();
      });
    });
  if (wanted !== undefined) return await tryPort(wanted);
  if (usual !== undefined) {
    try {
      return await tryPort(usual);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    }
  }
  await tryPort(0);
}

function headersOf(incoming: IncomingMessage): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(", ") : value,
    ]),
  );
}

/** The request with its body, or the fault that its body is. */
async function receive(incoming: IncomingMessage): Promise<GraphRequest | GraphFault> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    size += (chunk as Buffer).length;
    if (size > bodyMaxBytes) return new GraphFault(413, "RequestTooLarge", "The request is too large.");
    chunks.push(chunk as Buffer);
  }
  const [path = "/", query = ""] = (incoming.url ?? "/").split(/\?(.*)/s);
  let body: Json | undefined;
  if (size > 0) {
    try {
      body = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      return badRequest("Unable to read JSON request payload.");
    }
  }
  return {
    method: incoming.method ?? "GET",
    path,
    query: new URLSearchParams(query),
    headers: headersOf(incoming),
    body,
    origin: `https://${incoming.headers.host ?? "localhost"}`,
  };
}

function unauthorized(request: GraphRequest, token: string): GraphAnswer | undefined {
  const [, given = ""] = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? "") ?? [];
  const expected = Buffer.from(token);
  const actual = Buffer.from(given);
  if (expected.length === actual.length && timingSafeEqual(expected, actual)) return undefined;
  const message =
    given === "" ? "Access token is empty." : "IDX14100: JWT is not well formed, there are no dots (.).";
  return failure(
    request,
    new GraphFault(401, "InvalidAuthenticationToken", message, {
      "WWW-Authenticate":
        'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"',
    }),
  );
}

const jsonType =
  "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";

async function send(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: GraphAnswer,
  fault: Fault | undefined,
): Promise<void> {
  if (fault?.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
  if (fault?.reset === true) {
    incoming.socket.destroy();
    return;
  }
  const plain = typeof answer.body === "string";
  const payload = plain ? String(answer.body) : answer.body === undefined ? "" : JSON.stringify(answer.body);
  const requestId = randomUUID();
  outgoing.writeHead(answer.status, {
    "Cache-Control": "no-cache",
    "OData-Version": "4.0",
    "request-id": requestId,
    "client-request-id": incoming.headers["client-request-id"] ?? requestId,
    "x-ms-resource-unit": "1",
    ...(answer.body === undefined ? {} : { "Content-Type": plain ? "text/plain" : jsonType }),
    ...(answer.status === 204 ? {} : { "Content-Length": Buffer.byteLength(payload) }),
    ...answer.headers,
  });
  if (fault?.truncate === true) {
    outgoing.write(Buffer.from(payload).subarray(0, Math.floor(Buffer.byteLength(payload) / 2)), () => {
      incoming.socket.destroy();
    });
    return;
  }
  outgoing.end(payload === "" ? undefined : payload);
}

/** A mistake of the sandbox itself: told on stderr and answered 500, so that a client's test does not hang. */
function fail(outgoing: ServerResponse, error: unknown): void {
  if (outgoing.destroyed) return;
  process.stderr.write(`graph sandbox: ${error instanceof Error ? error.stack : String(error)}\n`);
  if (!outgoing.headersSent) outgoing.writeHead(500, { "Content-Type": "application/json" });
  outgoing.end(JSON.stringify({ error: { code: "InternalServerError", message: "The sandbox failed." } }));
}

/** How often each endpoint was asked and what it answered. */
function requestCounts(): { add(endpoint: string, status: number): void; read(): Json } {
  const counts = new Map<string, Record<string, number>>();
  return {
    add(endpoint, status) {
      const byStatus = counts.get(endpoint) ?? {};
      byStatus.total = (byStatus.total ?? 0) + 1;
      byStatus[status] = (byStatus[status] ?? 0) + 1;
      counts.set(endpoint, byStatus);
    },
    read: () => Object.fromEntries([...counts].map(([endpoint, byStatus]) => [endpoint, { ...byStatus }])),
  };
}
