/**
 * A Samba Active Directory domain controller as a child process. Samba is the authority on directory
 * behaviour for tests, and `npm start -- --directory samba` uses it in place of the directory sandbox.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { accessSync, constants, existsSync, openSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const script = join(import.meta.dirname, "samba-dc.sh");
const serviceAccountName = "svc-vestibule";
const ldapsPort = 636;

export interface SambaOptions {
  /** State directory: created on first use, reused by later starts. One server per directory at a time. */
  readonly dir: string;
  /** A loopback address of 127.0.0.0/8 that has port 636 free; by default a random free one. */
  readonly address?: string;
  /** DNS name of the domain; default `CONTOSO.LOCAL`. */
  readonly realm?: string;
  /** Name of the OU under the domain root; default `AAD Guest Users`. */
  readonly guestOu?: string;
  /** Whether the service account sees deleted objects; default true. */
  readonly readDeleted?: boolean;
  /** Of the database: `mdb` for tens of thousands of objects, which `tdb`, the default, takes ever longer to add to. */
  readonly store?: "tdb" | "mdb";
  /** Keeps the empty domain, so that a new `dir` takes one second and not six. */
  readonly cacheDir?: string;
}

export interface SambaServer {
  /** `ldaps://127.x.y.z:636` */
  readonly url: string;
  readonly caFile: string;
  readonly serverName: string;
  readonly baseDn: string;
  readonly guestOu: string;
  readonly adminDn: string;
  readonly adminUpn: string;
  readonly adminPassword: string;
  readonly serviceAccount: {
    readonly dn: string;
    readonly upn: string;
    readonly password: string;
    readonly passwordFile: string;
  };
  /** A socket on which every operation runs as the system itself, without a bind. */
  readonly ldapiPath: string;
  /** Puts back the state after provisioning and restarts the server; every connection breaks. */
  reset(): Promise<void>;
  stop(): Promise<void>;
}

export type SambaAvailability = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Whether a Samba domain controller can run here: as root, with Samba installed or apt-get to install it. */
export function sambaAvailable(): SambaAvailability {
  if (process.platform !== "linux") return { ok: false, reason: "Samba AD needs Linux" };
  if (process.getuid?.() !== 0) return { ok: false, reason: "Samba AD needs root: its ports are below 1024" };
  const installed = ["/usr/sbin/samba", "/usr/bin/samba-tool", "/usr/bin/ldbadd"].every(isExecutable);
  if (installed || isExecutable("/usr/bin/apt-get")) return { ok: true };
  return { ok: false, reason: "Samba is not installed and there is no apt-get to install it with" };
}

/**
 * Starts the domain controller in `options.dir`, after making the domain if the directory is new. The server
 * ends with this process, even with SIGKILL: it watches the pipe that is its standard input.
 * @throws Error with the script's own message when Samba cannot be installed, provisioned or started, or when
 *   another process serves the directory.
 */
export async function startSamba(options: SambaOptions): Promise<SambaServer> {
  const dir = resolve(options.dir);
  const realm = options.realm ?? "CONTOSO.LOCAL";
  const guestOu = options.guestOu ?? "AAD Guest Users";
  const address = options.address ?? (await freeLoopbackAddress());
  const environment = {
    ...process.env,
    DC_DIR: dir,
    DC_ADDR: address,
    DC_REALM: realm,
    DC_GUEST_OU: guestOu,
    DC_READ_DELETED: options.readDeleted === false ? "no" : "yes",
    DC_STORE: options.store ?? "tdb",
    DC_CACHE: options.cacheDir === undefined ? "" : resolve(options.cacheDir),
  };

  await waitUntilFree(dir);
  await runScript("prepare", environment);
  let server = await runServer(dir, address, environment);

  const domain = realm.toLowerCase();
  const baseDn = `DC=${domain.replaceAll(".", ",DC=")}`;
  const secret = (name: string) => join(dir, "secrets", name);
  return {
    url: `ldaps://${address}:${ldapsPort}`,
    caFile: join(dir, "tls", "ca.pem"),
    serverName: `dc1.${domain}`,
    baseDn,
    guestOu: `OU=${guestOu},${baseDn}`,
    adminDn: `CN=Administrator,CN=Users,${baseDn}`,
    adminUpn: `Administrator@${domain}`,
    adminPassword: readFileSync(secret("administrator"), "utf8"),
    serviceAccount: {
      dn: `CN=${serviceAccountName},CN=Users,${baseDn}`,
      upn: `${serviceAccountName}@${domain}`,
      password: readFileSync(secret(serviceAccountName), "utf8"),
      passwordFile: secret(serviceAccountName),
    },
    ldapiPath: join(dir, "state", "private", "ldap_priv", "ldapi"),
    async reset() {
      await end(server, "SIGKILL"); // the state is thrown away, so nothing needs to be written in order
      await runScript("restore", environment);
      server = await runServer(dir, address, environment);
    },
    stop: () => end(server, "SIGTERM"),
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // absent or not executable: the same answer
  }
}

async function runScript(command: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    await promisify(execFile)("bash", [script, command], { env });
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw new Error(`Samba: ${stderr?.trim() || (error as Error).message}`);
  }
}

async function runServer(dir: string, address: string, env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const outputFile = join(dir, "log", "samba.out");
  const output = openSync(outputFile, "w");
  const child = spawn("bash", [script, "run"], { env, stdio: ["pipe", output, output], detached: true });
  const deadline = Date.now() + 30_000;
  while (!(await accepts(address, ldapsPort))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`Samba ended at its start: ${readFileSync(outputFile, "utf8").trim()}`);
    }
    if (Date.now() > deadline) {
      await end(child, "SIGKILL");
      throw new Error(`Samba does not answer on ${address}:${ldapsPort} after 30 s; see ${outputFile}`);
    }
    await sleep(20);
  }
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  child.kill(signal);
  const stubborn = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await exited;
  clearTimeout(stubborn);
}

/** A server whose parent was killed needs a moment to see it; one that stays belongs to somebody else. */
async function waitUntilFree(dir: string): Promise<void> {
  const deadline = Date.now() + 5_000;
  for (;;) {
    const pid = servingProcess(dir);
    if (pid === undefined) return;
    if (Date.now() > deadline) throw new Error(`Samba: ${dir} is already served by process ${pid}`);
    await sleep(50);
  }
}

function servingProcess(dir: string): number | undefined {
  const pidFile = join(dir, "samba.pid");
  if (!existsSync(pidFile)) return undefined;
  const pid = Number(readFileSync(pidFile, "utf8"));
  try {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8"); // empty for a zombie
    return commandLine.includes("samba") && commandLine.includes(dir) ? pid : undefined;
  } catch {
    return undefined; // no such process: the file was left by a server that has ended
  }
}

async function freeLoopbackAddress(): Promise<string> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const address = `127.${randomInt(1, 255)}.${randomInt(0, 255)}.${randomInt(1, 255)}`;
    if (await canListen(address, ldapsPort)) return address;
  }
  throw new Error(`Samba: no loopback address with port ${ldapsPort} free`);
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((answer) => {
    const probe = createServer();
    probe.once("error", () => answer(false));
    probe.listen({ host, port }, () => probe.close(() => answer(true)));
  });
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect({ host, port });
    const settle = (accepted: boolean) => {
      socket.destroy();
      answer(accepted);
    };
    socket.once("connect", () => settle(true)).once("error", () => settle(false));
  });
}
