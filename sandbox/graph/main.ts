/**
 * The Graph sandbox as a process.
 *
 *   node sandbox/graph/main.ts --data DIR [--port 0] [--guests 40] [--members 20] [--seed 1] [--exit-with-parent]
 *
 * Prints one line of JSON when it is ready: {ready, url, ca, token, admin}. Ends on SIGTERM and SIGINT, and with
 * `--exit-with-parent` when its standard input closes. Exit code 2: the arguments, or the folder, cannot be used.
 */

import { parseArgs } from "node:util";
import { GraphSandbox } from "./server.ts";

const guestsMax = 200_000;

function wholeNumber(name: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max)
    throw new Error(`--${name} must be a whole number from 0 to ${max}.`);
  return value;
}

async function start(): Promise<GraphSandbox> {
  const { values } = parseArgs({
    options: {
      data: { type: "string" },
      port: { type: "string" },
      guests: { type: "string" },
      members: { type: "string" },
      seed: { type: "string" },
      "exit-with-parent": { type: "boolean", default: false },
    },
  });
  if (values.data === undefined) throw new Error("--data DIR is required: the tenant lives there.");
  const port = wholeNumber("port", values.port, 65_535);
  const guests = wholeNumber("guests", values.guests, guestsMax);
  const members = wholeNumber("members", values.members, guestsMax);
  const seed = wholeNumber("seed", values.seed, 2 ** 31 - 1);
  const sandbox = await GraphSandbox.start({
    dataDir: values.data,
    ...(port !== undefined && { port }),
    ...(guests !== undefined && { guests }),
    ...(members !== undefined && { members }),
    ...(seed !== undefined && { seed }),
  });

  const stop = () => void sandbox.close().then(() => process.exit(0));
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  if (values["exit-with-parent"]) {
    process.stdin.once("end", stop);
    process.stdin.once("close", stop);
    process.stdin.resume();
  }
  return sandbox;
}

try {
  const { url, caFile, token, adminUrl } = await start();
  process.stdout.write(`${JSON.stringify({ ready: true, url, ca: caFile, token, admin: adminUrl })}\n`);
} catch (error) {
  process.stderr.write(`graph sandbox: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
}
