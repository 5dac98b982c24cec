/**
 * The directory sandbox: an LDAP server over TLS that behaves like an Active Directory domain controller as far
 * as a connector can tell. A Samba domain controller is the authority: `test/servers/directoryBehaviour.test.ts`
 * holds both to the same expectations.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { createAuthority, createServerCertificate } from "../graph/certificates.ts";
import { Connection } from "./connection.ts";
import { Directory, serviceAccountName } from "./directory.ts";
import { Journal } from "./journal.ts";
import { DirectoryStore } from "./store.ts";

export interface DirectorySandboxOptions {
  /** State directory; without it the directory lives in a temporary one and ends with `close`. */
  readonly dataDir?: string;
  /** Port on 127.0.0.1; 0, the default, takes a free one. */
  readonly port?: number;
  /** Whether the service account sees deleted objects; default true. */
  readonly readDeleted?: boolean;
  /** DNS name of the domain; default `contoso.local`. */
  readonly domain?: string;
  /** Name of the OU under the domain root in which the service account may write; default `AAD Guest Users`. */
  readonly guestOu?: string;
}

export class DirectorySandbox {
  /** `ldaps://127.0.0.1:port` */
  readonly url: string;
  /** The authority's certificate, PEM. */
  readonly ca: string;
  readonly caFile: string;
  readonly serverName: string;
  readonly bindDn: string;
  readonly bindPassword: string;
  readonly bindPasswordFile: string;
  readonly adminDn: string;
  readonly adminPassword: string;
  readonly baseDn: string;
  readonly guestOu: string;
  readonly #server: Server;
  readonly #sockets: Set<TLSSocket>;
  readonly #store: DirectoryStore;
  readonly #removeAtClose: string | undefined;

  private constructor(
    known: Pick<
      DirectorySandbox,
      "url" | "ca" | "caFile" | "serverName" | "bindPassword" | "bindPasswordFile" | "adminPassword"
    >,
    directory: Directory,
    server: Server,
    sockets: Set<TLSSocket>,
    removeAtClose: string | undefined,
  ) {
    this.url = known.url;
    this.ca = known.ca;
    this.caFile = known.caFile;
    this.serverName = known.serverName;
    this.bindPassword = known.bindPassword;
    this.bindPasswordFile = known.bindPasswordFile;
    this.adminPassword = known.adminPassword;
    this.baseDn = directory.baseDn;
    this.guestOu = directory.dnOf(directory.guestOu);
    this.bindDn = `CN=${serviceAccountName},CN=Users,${directory.baseDn}`;
    this.adminDn = `CN=Administrator,CN=Users,${directory.baseDn}`;
    this.#server = server;
    this.#sockets = sockets;
    this.#store = directory.store;
    this.#removeAtClose = removeAtClose;
  }

  /** @throws Error when the port is taken or the state directory cannot be used */
  static async start(options: DirectorySandboxOptions = {}): Promise<DirectorySandbox> {
    const temporary = options.dataDir === undefined;
    const dir =
      options.dataDir === undefined ? mkdtempSync(join(tmpdir(), "directory-")) : resolve(options.dataDir);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const dnsName = (options.domain ?? "contoso.local").toLowerCase();
    const serverName = `dc1.${dnsName}`;
    const certificates = await certificatesIn(dir, serverName);
    const bindPasswordFile = join(dir, serviceAccountName);
    const bindPassword = passwordIn(bindPasswordFile);
    const adminPassword = passwordIn(join(dir, "administrator"));
    const store = new DirectoryStore(new Journal(join(dir, "directory.ndjson")));
    const directory = new Directory(store, {
      dnsName,
      guestOu: options.guestOu ?? "AAD Guest Users",
      readDeleted: options.readDeleted ?? true,
      administratorPassword: adminPassword,
      servicePassword: bindPassword,
    });

    const sockets = new Set<TLSSocket>();
    const server = createServer({
      key: certificates.privateKey,
      cert: certificates.certificate,
      noDelay: true,
    });
    server.on("secureConnection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      new Connection(directory, socket);
    });
    await new Promise<void>((ready, failed) => {
      server.once("error", failed);
      server.listen(options.port ?? 0, "127.0.0.1", ready);
    });
    const { port } = server.address() as AddressInfo;
    return new DirectorySandbox(
      {
        url: `ldaps://127.0.0.1:${port}`,
        ca: certificates.authority,
        caFile: certificates.authorityFile,
        serverName,
        bindPassword,
        bindPasswordFile,
        adminPassword,
      },
      directory,
      server,
      sockets,
      temporary ? dir : undefined,
    );
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((closed) => {
      this.#server.close(() => closed());
    });
    this.#store.close();
    if (this.#removeAtClose !== undefined) rmSync(this.#removeAtClose, { recursive: true });
  }
}

/** Meets every policy: all character classes and 32 random digits. */
function passwordIn(file: string): string {
  if (!existsSync(file)) writeFileSync(file, `Aa1!${randomBytes(16).toString("hex")}`, { mode: 0o600 });
  return readFileSync(file, "utf8");
}

/** The authority stays, so that clients that trust it go on; the server's certificate is made at each start. */
async function certificatesIn(dir: string, serverName: string) {
  const authorityFile = join(dir, "ca.pem");
  const keyFile = join(dir, "ca.key");
  if (!existsSync(authorityFile) || !existsSync(keyFile)) {
    const made = await createAuthority("Directory sandbox CA");
    writeFileSync(keyFile, made.privateKey, { mode: 0o600 });
    writeFileSync(authorityFile, made.certificate);
  }
  const authority = {
    certificate: readFileSync(authorityFile, "utf8"),
    privateKey: readFileSync(keyFile, "utf8"),
  };
  const issued = await createServerCertificate(authority, [serverName, "dc1.contoso.example"]);
  return { authority: authority.certificate, authorityFile, ...issued };
}
