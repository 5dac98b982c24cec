/** A program of the local platform as a child process that says on its standard output when it is ready. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";

export interface ChildOptions {
  /** What messages call it. */
  readonly name: string;
  /** A TypeScript or JavaScript file that this Node runs. */
  readonly file: string;
  readonly args: readonly string[];
  /** Of Node itself. */
  readonly nodeArguments?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Gets the standard error, appended; without it, that is only kept for messages. */
  readonly logFile?: string;
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines of its standard error. */
  readonly lastLines: readonly string[];
}

/** The program ended before it was ready; `end` says how. */
export class ChildStartError extends Error {
  override readonly name = "ChildStartError";
  readonly end: ChildEnd;
  constructor(message: string, end: ChildEnd) {
    super(message);
    this.end = end;
  }
}

export interface Child<Ready> {
  readonly pid: number;
  readonly ready: Ready;
  /** Settles when the process has ended, however that came. */
  readonly ended: Promise<ChildEnd>;
  /** Asks it to end and waits; after `maxMs` it is killed. */
  stop(maxMs: number, signal?: NodeJS.Signals): Promise<void>;
}

const keptLines = 40;

/**
 * Starts the program and waits for its first line of output, which is JSON. Its standard input is a pipe from this
 * process, which closes when this process dies: how the child learns of that.
 * @param started is told the process id before the program is ready
 * @throws ChildStartError
 */
export async function startChild<Ready>(
  options: ChildOptions,
  started: (pid: number) => void = () => {},
): Promise<Child<Ready>> {
  const child = spawn(process.execPath, [...(options.nodeArguments ?? []), options.file, ...options.args], {
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe"],
    // A Ctrl-C in the terminal goes to the supervisor alone, which ends its children in order.
    detached: true,
  });
  if (child.pid !== undefined) started(child.pid);
  const lastLines: string[] = [];
  const log = options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: "a" });
  createInterface(child.stderr).on("line", (line) => {
    lastLines.push(line);
    if (lastLines.length > keptLines) lastLines.shift();
    log?.write(`${new Date().toISOString()} ${line}\n`);
  });
  // A child that is gone cannot be written to; nothing is.
  child.stdin.on("error", () => {});

  const ended = new Promise<ChildEnd>((resolve) => {
    child.once("close", (code, signal) => {
      log?.end();
      resolve({ code, signal, lastLines });
    });
  });
  const ready = await firstLine<Ready>(child, ended, options.name);
  return {
    pid: child.pid!,
    ready,
    ended,
    stop: async (maxMs, signal = "SIGTERM") => {
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), maxMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

function firstLine<Ready>(child: ChildProcess, ended: Promise<ChildEnd>, name: string): Promise<Ready> {
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`${name} cannot be started: ${error.message}`)));
    // Every line is read, so that a full pipe never stops the child; the first one counts.
    createInterface(child.stdout!).on("line", (line) => {
      try {
        resolve(JSON.parse(line) as Ready);
      } catch {
        // A program may print other things before it is ready.
      }
    });
    void ended.then((end) => {
      const how = end.signal === null ? `with code ${end.code}` : `by ${end.signal}`;
      reject(new ChildStartError(`${name} ended ${how} before it was ready.`, end));
    });
  });
}
