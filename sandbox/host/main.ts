/**
 * `node sandbox/host/main.ts --app DIR --port N [--no-timers] [--exit-with-parent]`: runs a built function app.
 *
 * Standard output gets one line once the app runs: {"ready":true,"port":N,"functions":[names]}. The app's log goes
 * to standard error. Exit codes: 2 when the app says that it is configured wrongly (an error named
 * ConfigurationError while it loads), 1 when it cannot be started for another reason, 0 after SIGTERM or SIGINT.
 */
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { LogLevel } from "./coreApi.ts";
import { EntryPointError, FunctionApp } from "./functionApp.ts";
import { readHostFile } from "./hostFile.ts";
import { createHttpServer } from "./http.ts";
import { routesOf } from "./routes.ts";
import { ServiceBusBindings } from "./serviceBus.ts";
import { AppStartError, localSettings } from "./settings.ts";
import { prepareTimers } from "./timers.ts";

/** How long invocations may go on after SIGTERM; those in Azure get longer, but a developer waits for this. */
const graceMs = 10_000;
/** How long the messages of those invocations may take to be settled. */
const settleMs = 2_000;

const { values: options } = parseArgs({
  options: {
    app: { type: "string", default: "." },
    port: { type: "string", default: "0" },
    // In Azure a timer runs on one instance of many; here the first host of several is that one.
    "no-timers": { type: "boolean", default: false },
    "exit-with-parent": { type: "boolean", default: false },
  },
});

// A dead parent takes the broker and the tables with it: there is nothing left to finish with.
if (options["exit-with-parent"]) process.stdin.on("end", () => process.exit(1)).resume();

function log(level: LogLevel, message: string, functionName: string | undefined): void {
  if (level === "trace" || level === "debug" || level === "none") return;
  const prefix = `[${functionName ?? "host"}]${level === "information" ? "" : ` ${level}:`}`;
  for (const line of message.split("\n")) console.error(`${prefix} ${line}`);
}

async function run(): Promise<void> {
  const directory = resolve(options.app);
  process.chdir(directory);
  for (const [name, value] of Object.entries(localSettings(directory))) process.env[name] ??= value;

  const hostFile = readHostFile(directory);
  const app = await FunctionApp.load(directory, log);
  const triggers = (type: string) => app.triggers.filter(({ binding }) => binding.type === type);
  const unknown = app.triggers.find(
    ({ binding }) => !["httpTrigger", "timerTrigger", "serviceBusTrigger"].includes(binding.type),
  );
  if (unknown !== undefined) {
    throw new AppStartError(
      `Function ${unknown.functionName}: the local host has no ${unknown.binding.type} (http, timer, serviceBus).`,
    );
  }
  const routes = routesOf(triggers("httpTrigger"), hostFile.routePrefix);
  const bus = new ServiceBusBindings(
    app,
    triggers("serviceBusTrigger"),
    hostFile.serviceBus,
    process.env,
    log,
  );
  const timers = prepareTimers(
    app,
    triggers("timerTrigger"),
    process.env,
    (outputs) => bus.send(outputs),
    log,
  );

  const server = createHttpServer({
    app,
    routes,
    log,
    send: (outputs) => bus.send(outputs),
    startByHand: (functionName, input) => {
      const type = app.triggers.find((trigger) => trigger.functionName === functionName)?.binding.type;
      if (type === "timerTrigger") return timers.invoke(functionName);
      if (type === "serviceBusTrigger") return bus.invoke(functionName, input);
      return undefined;
    },
  });
  await new Promise<void>((listening, failed) => {
    server.once("error", failed).listen(Number(options.port), "127.0.0.1", listening);
  });
  bus.start();
  if (!options["no-timers"]) timers.start();

  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    timers.stop();
    server.close();
    await bus.stopReceiving();
    await app.terminate(graceMs);
    await bus.close(settleMs);
    process.exit(0);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop().catch(fail));

  const functions = app.triggers.map(({ functionName }) => functionName);
  console.log(JSON.stringify({ ready: true, port: (server.address() as AddressInfo).port, functions }));
}

function fail(error: unknown): never {
  const cause = error instanceof EntryPointError ? error.cause : error;
  if (cause instanceof Error && cause.name === "ConfigurationError") {
    console.error(cause.message);
    process.exit(2);
  }
  if (error instanceof EntryPointError) {
    console.error(`${error.message}\n${cause instanceof Error ? cause.stack : String(cause)}`);
  } else
    console.error(error instanceof AppStartError ? error.message : ((error as Error).stack ?? String(error)));
  process.exit(1);
}

// As in the worker, a promise that nobody handles is logged and does not end the process.
process.on("unhandledRejection", (reason) => {
  log("error", `Unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`, undefined);
});

run().catch(fail);
