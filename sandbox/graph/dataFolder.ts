/**
 * What a sandbox tenant keeps on disk, so that a second start goes on from the first:
 *
 *   graph-tenant.json     seed, sizes, ports and the key of its state tokens
 *   graph-token           the access token, readable by the owner only
 *   graph-ca.pem, -key    the certificate authority
 *   graph-journal.jsonl   one event a line
 */

import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CertificateAuthority } from "./certificates.ts";
import { createAuthority } from "./certificates.ts";
import type { TenantEvent } from "./store.ts";
import type { TenantOptions } from "./tenant.ts";

export interface TenantFile extends TenantOptions {
  readonly stateKey: string;
  /** Ports of the last start, taken again so that links in stored tokens keep working. */
  readonly port?: number;
  readonly adminPort?: number;
}

export interface TenantState {
  readonly tenant: TenantFile;
  readonly token: string;
  readonly authority: CertificateAuthority;
  readonly past: readonly TenantEvent[];
  readonly caFile?: string;
  record(events: readonly TenantEvent[]): void;
  rememberPorts(port: number, adminPort: number): void;
}

const defaults: TenantOptions = { seed: 1, guests: 40, members: 20 };
const commonName = "Graph sandbox CA";

function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

/** State that ends with the process. */
export async function openMemory(wanted: Partial<TenantOptions>): Promise<TenantState> {
  return {
    tenant: { ...defaults, ...wanted, stateKey: newSecret() },
    token: newSecret(),
    authority: await createAuthority(commonName),
    past: [],
    record: () => {},
    rememberPorts: () => {},
  };
}

/**
 * Opens or makes the folder. What is not wanted otherwise is as it was.
 * @throws Error when the folder holds a tenant of another seed or size
 */
export async function openFolder(folder: string, wanted: Partial<TenantOptions>): Promise<TenantState> {
  mkdirSync(folder, { recursive: true });
  const file = (name: string) => join(folder, name);
  const tenantFile = file("graph-tenant.json");
  const tenant: TenantFile = existsSync(tenantFile)
    ? JSON.parse(readFileSync(tenantFile, "utf8"))
    : { ...defaults, ...wanted, stateKey: newSecret() };
  for (const name of ["seed", "guests", "members"] as const) {
    if (wanted[name] !== undefined && wanted[name] !== tenant[name]) {
      throw new Error(
        `The tenant in ${tenantFile} was made with --${name} ${tenant[name]}, not ${wanted[name]}. ` +
          `Leave --${name} out to go on with it, or begin anew: npm start -- --fresh.`,
      );
    }
  }
  writeSecret(tenantFile, JSON.stringify(tenant));

  const token = readOr(file("graph-token"), newSecret).trim();
  const journal = file("graph-journal.jsonl");
  return {
    tenant,
    token,
    authority: await authorityIn(file("graph-ca.pem"), file("graph-ca-key.pem")),
    caFile: file("graph-ca.pem"),
    past: readJournal(journal),
    record: (events) => {
      appendFileSync(journal, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
    },
    rememberPorts: (port, adminPort) => {
      writeSecret(tenantFile, JSON.stringify({ ...tenant, port, adminPort }));
    },
  };
}

async function authorityIn(certificateFile: string, keyFile: string): Promise<CertificateAuthority> {
  if (existsSync(certificateFile) && existsSync(keyFile)) {
    return { certificate: readFileSync(certificateFile, "utf8"), privateKey: readFileSync(keyFile, "utf8") };
  }
  const authority = await createAuthority(commonName);
  writeSecret(keyFile, authority.privateKey);
  writeFileSync(certificateFile, authority.certificate);
  return authority;
}

/** Events in order. A last line without its end was cut by a crash before anybody saw its effect: it is dropped. */
function readJournal(journal: string): TenantEvent[] {
  if (!existsSync(journal)) return [];
  const text = readFileSync(journal);
  const whole = text.lastIndexOf("\n") + 1;
  if (whole < text.length) truncateSync(journal, whole);
  return text
    .subarray(0, whole)
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as TenantEvent);
}

function readOr(file: string, make: () => string): string {
  if (!existsSync(file)) writeSecret(file, make());
  return readFileSync(file, "utf8");
}

function writeSecret(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
}
