/** The HTTP side of the host: functions with HTTP triggers, and the call that starts another function by hand. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { RpcCookie, RpcHttp } from "./coreApi.ts";
import type { FunctionApp, LogSink, Output } from "./functionApp.ts";
import { matchRoute, type Route } from "./routes.ts";

export interface HttpHost {
  readonly app: FunctionApp;
  readonly routes: readonly Route[];
  /** Starts a function that has no HTTP trigger; undefined when there is none of that name. */
  readonly startByHand: (functionName: string, input: string) => Promise<void> | undefined;
  readonly send: (outputs: readonly Output[]) => Promise<void>;
  readonly log: LogSink;
}

export function createHttpServer(host: HttpHost): Server {
  return createServer((request, response) => {
    answer(host, request, response).catch((error: unknown) => {
      host.log("error", (error as Error).stack ?? String(error), undefined);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
}

async function answer(host: HttpHost, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", `http://${request.headers.host ?? "localhost"}`);
  const body = await readBody(request);
  const byHand = /^\/admin\/functions\/([^/]+)$/.exec(url.pathname);
  if (byHand !== null && request.method === "POST") return startByHand(host, byHand[1]!, body, response);

  const match = matchRoute(host.routes, request.method ?? "", url.pathname);
  if (match === undefined) {
    response.writeHead(404).end();
    return;
  }
  let outputs: readonly Output[];
  try {
    const http = rpcRequest(request, url, match.parameters, body);
    outputs = await host.app.invoke(match.functionName, { http });
    await host.send(outputs);
  } catch (error) {
    // As the real host: the reason is for the log, not for the caller.
    host.log("error", (error as Error).stack ?? String(error), match.functionName);
    response.writeHead(500).end();
    return;
  }
  writeResponse(
    response,
    outputs.find(({ binding }) => binding.type === "http")?.value as RpcHttp | undefined,
  );
}

/**
 * `POST /admin/functions/{name}` with `{"input": "…"}`: runs a function that a timer or a message would start.
 * https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
 */
function startByHand(host: HttpHost, functionName: string, body: Buffer, response: ServerResponse): void {
  let input: unknown;
  try {
    input = body.length === 0 ? "" : (JSON.parse(body.toString("utf8")) as { input?: unknown }).input;
  } catch {
    response.writeHead(400).end('The body must be JSON: {"input": "…"}.');
    return;
  }
  const text = typeof input === "string" ? input : JSON.stringify(input ?? "");
  const started = host.startByHand(functionName, text);
  started?.catch((error: unknown) =>
    host.log("error", (error as Error).stack ?? String(error), functionName),
  );
  response.writeHead(started === undefined ? 404 : 202).end();
}

/** Without a length there is no body for the function, as in the real host unless HTTP streams are enabled. */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Number(request.headers["content-length"] ?? 0) > 0 ? Buffer.concat(chunks) : Buffer.alloc(0);
}

function rpcRequest(
  request: IncomingMessage,
  url: URL,
  parameters: Readonly<Record<string, string>>,
  body: Buffer,
): RpcHttp {
  // The host joins repeated query values with commas. A function that takes several reads them from `request.url`.
  const query = Object.fromEntries(
    [...new Set(url.searchParams.keys())].map((name) => [name, url.searchParams.getAll(name).join(",")]),
  );
  const headers = Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values]) => [name, (values ?? []).join(",")]),
  );
  return {
    url: url.href,
    method: request.method ?? "GET",
    nullableHeaders: nullable(headers),
    nullableQuery: nullable(query),
    nullableParams: nullable(parameters),
    ...(body.length === 0 ? {} : { body: { bytes: body } }),
  };
}

function nullable(values: Readonly<Record<string, string>>): Record<string, { readonly value: string }> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}

function writeResponse(response: ServerResponse, http: RpcHttp | undefined): void {
  // A function that returns nothing answers 204, as in the real host.
  if (http === undefined) {
    response.writeHead(204).end();
    return;
  }
  for (const [name, value] of Object.entries(http.headers ?? {})) response.setHeader(name, value);
  if (http.cookies !== undefined && http.cookies.length > 0) {
    response.setHeader("set-cookie", http.cookies.map(cookieText));
  }
  const bytes = http.body?.bytes ?? Buffer.from(http.body?.string ?? "");
  response.writeHead(Number(http.statusCode ?? 200)).end(bytes);
}

function cookieText(cookie: RpcCookie): string {
  return [
    `${cookie.name ?? ""}=${encodeURIComponent(cookie.value ?? "")}`,
    ...(cookie.path?.value === undefined ? [] : [`Path=${cookie.path.value}`]),
    ...(cookie.domain?.value === undefined ? [] : [`Domain=${cookie.domain.value}`]),
    ...(cookie.secure?.value === true ? ["Secure"] : []),
    ...(cookie.httpOnly?.value === true ? ["HttpOnly"] : []),
  ].join("; ");
}
