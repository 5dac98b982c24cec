/** The folder in which a local platform keeps its state; at most one platform at a time has it. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const lockName = "lock";
/** What a platform writes; `clear` removes nothing else, whatever folder it is given. */
const ownEntries = [
  "tables",
  "queues",
  "graph",
  "directory",
  "samba",
  "logs",
  "graph-token",
  "platform.json",
  "processes.json",
];
/** Processes of a killed platform save and end by themselves within this time. */
const leftoversMaxMs = 20_000;

export class StateInUseError extends Error {
  override readonly name = "StateInUseError";
}

interface Lock {
  readonly pid: number;
  /** Tells the process from a later one with the same id. */
  readonly started: string;
}

export class StateFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Takes the folder, making it where there is none, and waits for what a killed platform left running in it.
   * @throws StateInUseError
   */
  static async take(path: string): Promise<StateFolder> {
    const folder = new StateFolder(resolve(path));
    mkdirSync(folder.path, { recursive: true });
    folder.#lock();
    try {
      await folder.#waitForLeftovers();
    } catch (error) {
      folder.release();
      throw error;
    }
    return folder;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  clear(): void {
    for (const name of ownEntries) rmSync(this.file(name), { recursive: true, force: true });
  }

  /** Writes a file that a reader never sees half of; for the eyes of this user alone. */
  write(name: string, content: string): void {
    const unfinished = this.file(`${name}.new`);
    writeFileSync(unfinished, content, { mode: 0o600 });
    renameSync(unfinished, this.file(name));
  }

  remove(name: string): void {
    rmSync(this.file(name), { force: true });
  }

  release(): void {
    this.remove(lockName);
  }

  #lock(): void {
    const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Lock);
    for (let tries = 0; tries < 3; tries++) {
      try {
        writeFileSync(this.file(lockName), mine, { flag: "wx" });
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = this.#holder();
      if (holder !== undefined) {
        throw new StateInUseError(
          `${this.path} is in use by the platform with process id ${holder}. Stop it, or use another folder: --state DIR.`,
        );
      }
      this.release();
    }
    throw new StateInUseError(`${this.path} is being taken by another platform.`);
  }

  /** The process that holds the lock; undefined when that has ended, or the file was never finished. */
  #holder(): number | undefined {
    try {
      const { pid, started } = JSON.parse(readFileSync(this.file(lockName), "utf8")) as Lock;
      return isAlive(pid) && startOf(pid) === started ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  async #waitForLeftovers(): Promise<void> {
    if (!existsSync(this.file("processes.json"))) return;
    const processes = JSON.parse(readFileSync(this.file("processes.json"), "utf8")) as Record<string, number>;
    const deadline = Date.now() + leftoversMaxMs;
    for (const [name, pid] of Object.entries(processes)) {
      while (isAlive(pid) && commandOf(pid).includes("sandbox/")) {
        if (Date.now() > deadline) {
          throw new StateInUseError(
            `Process ${pid} (${name}) of an earlier platform still uses ${this.path}.`,
          );
        }
        await sleep(50);
      }
    }
    this.remove("processes.json");
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process was started, in whatever unit the system has; the same text for the same process. */
function startOf(pid: number): string {
  if (process.platform !== "linux") return ps("lstart=", pid);
  // The 22nd field; the second one is a name in parentheses that may hold anything.
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

function commandOf(pid: number): string {
  try {
    return process.platform === "linux"
      ? readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")
      : ps("args=", pid);
  } catch {
    return ""; // it has just ended
  }
}

function ps(column: string, pid: number): string {
  const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
  return execFileSync("ps", ["-o", column, "-p", String(pid)], { encoding: "utf8", env }).trim();
}
