/** A TLS proxy before a directory that takes messages apart: for what a real directory does on its bad days only. */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { createAuthority, createServerCertificate } from "../../sandbox/graph/certificates.ts";
import { eachMessage, type LdapMessage } from "./ldapMessages.ts";

export const operation = {
  bind: 0x60,
  search: 0x63,
  entry: 0x64,
  searchDone: 0x65,
  modify: 0x66,
  add: 0x68,
  delete: 0x4a,
  rename: 0x6c,
} as const;

export interface ProxiedMessage extends LdapMessage {
  /** Cuts both ways, without a farewell. */
  cut(): void;
}

/** Undefined passes the message on, null swallows it, bytes go to the client in place of it. */
export type Hook = (message: ProxiedMessage) => Buffer | null | undefined;

export interface FaultProxy {
  readonly url: string;
  readonly ca: string;
  /** Struck by requests and by answers; to be set anew for each fault. */
  hooks: { request?: Hook; answer?: Hook };
  close(): Promise<void>;
}

export async function faultProxy(target: {
  readonly url: string;
  readonly caFile: string;
  readonly serverName: string;
}): Promise<FaultProxy> {
  const authority = await createAuthority("Fault Proxy CA");
  const { certificate, privateKey } = await createServerCertificate(authority);
  const sockets = new Set<TLSSocket>();
  const { hostname, port } = new URL(target.url);
  const upstream = {
    host: hostname,
    port: Number(port || 636),
    ca: readFileSync(target.caFile),
    servername: target.serverName,
  };
  const proxy: FaultProxy = {
    url: "",
    ca: authority.certificate,
    hooks: {},
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => listener.close(done));
    },
  };
  const listener = createServer({ key: privateKey, cert: certificate }, (client) => {
    const directory = connect(upstream);
    for (const socket of [client, directory]) {
      sockets.add(socket);
      socket.on("error", () => {}); // cut on purpose
    }
    const cut = () => {
      client.destroy();
      directory.destroy();
    };
    client.on("close", () => directory.destroy());
    directory.on("close", () => client.destroy());
    const pass = (from: TLSSocket, to: TLSSocket, hook: () => Hook | undefined) =>
      eachMessage(from, (message) => {
        const said = hook()?.({ ...message, cut });
        if (said === undefined) to.write(message.bytes);
        else if (said !== null) client.write(said);
      });
    pass(client, directory, () => proxy.hooks.request);
    pass(directory, client, () => proxy.hooks.answer);
  });
  await new Promise<void>((done) => listener.listen(0, "127.0.0.1", done));
  return Object.assign(proxy, { url: `ldaps://localhost:${(listener.address() as AddressInfo).port}` });
}
