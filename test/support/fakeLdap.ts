/** An LDAP server that says what a test tells it to: for answers that no real directory gives on demand. */

import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket, type TlsOptions } from "node:tls";
import { createAuthority, createServerCertificate, type Validity } from "../../sandbox/graph/certificates.ts";
import { eachMessage, type LdapMessage } from "./ldapMessages.ts";

export interface FakeRequest extends LdapMessage {
  /** Number of the connection, from 1. */
  readonly connection: number;
  /** Paging cookie that the client sent, "" on a first page. */
  readonly cookie: string;
  readonly socket: TLSSocket;
}

export interface FakeLdap {
  readonly url: string;
  readonly ca: string;
  readonly requests: FakeRequest[];
  close(): Promise<void>;
}

const authority = await createAuthority("Fake Directory CA");
const server = await createServerCertificate(authority);

/** Another certificate of the server, of the same authority. */
export async function validOnly(validity: Validity): Promise<TlsOptions> {
  const { certificate, privateKey } = await createServerCertificate(authority, [], validity);
  return { cert: certificate, key: privateKey };
}

/**
 * Answers binds with success unless `answer` gives something else.
 * @param answer bytes to send, from the functions below; undefined for the default; null for silence.
 */
export async function fakeLdap(
  answer: (request: FakeRequest) => Buffer | null | undefined,
  tls: TlsOptions = {},
): Promise<FakeLdap> {
  const requests: FakeRequest[] = [];
  const sockets = new Set<TLSSocket>();
  const listener: Server = createServer(
    { key: server.privateKey, cert: server.certificate, ...tls },
    (socket) => {
      sockets.add(socket);
      const connection = sockets.size;
      socket.on("error", () => {}); // a test that cuts connections expects that
      eachMessage(socket, (message) => {
        const request: FakeRequest = { ...message, connection, cookie: cookieIn(message.bytes), socket };
        requests.push(request);
        const said = answer(request);
        if (said !== null) socket.write(said ?? defaultAnswer(request));
      });
    },
  );
  await new Promise<void>((done) => listener.listen(0, "127.0.0.1", done));
  return {
    url: `ldaps://localhost:${(listener.address() as AddressInfo).port}`,
    ca: authority.certificate,
    requests,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => listener.close(done));
    },
  };
}

const pagedResults = "1.2.840.113556.1.4.319";

/** The control's value ends the message and ends with the cookie, which is text in these tests. */
function cookieIn(bytes: Buffer): string {
  return bytes.includes(pagedResults) ? (/cookie-[a-z0-9]+$/.exec(bytes.toString("latin1"))?.[0] ?? "") : "";
}

// ---- answers ---------------------------------------------------------------------------------------------------

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = Buffer.alloc(5, 0x84);
  length.writeUInt32BE(content.length, 1);
  return Buffer.concat([Buffer.from([tag]), length, content]);
}

const octets = (value: string | Buffer) => tlv(0x04, Buffer.from(value as string));
const number = (tag: number, value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return tlv(tag, bytes);
};

export interface Result {
  readonly code?: number;
  readonly message?: string;
  readonly matchedDn?: string;
  readonly referrals?: readonly string[];
  /** A cookie of the form `cookie-…`; "" for the last page; without it no paging control comes back. */
  readonly cookie?: string;
}

/** The result that ends a request. */
export function result({ id, operation }: Pick<FakeRequest, "id" | "operation">, given: Result = {}): Buffer {
  const tag = operation === 0x4a ? 0x6b : operation === 0x63 ? 0x65 : operation + 1;
  return message(id, tag, given);
}

/** The server is about to close the connection. */
export const noticeOfDisconnection = (given: Result) => message(0, 0x78, given);

function message(
  id: number,
  tag: number,
  { code = 0, message = "", matchedDn = "", ...more }: Result,
): Buffer {
  const referrals = more.referrals === undefined ? [] : [tlv(0xa3, ...more.referrals.map(octets))];
  const content = tlv(tag, number(0x0a, code), octets(matchedDn), octets(message), ...referrals);
  const controls =
    more.cookie === undefined
      ? []
      : [tlv(0xa0, tlv(0x30, octets(pagedResults), octets(tlv(0x30, number(0x02, 0), octets(more.cookie)))))];
  return tlv(0x30, number(0x02, id), content, ...controls);
}

export function entry(
  { id }: Pick<FakeRequest, "id">,
  dn: string,
  attributes: Readonly<Record<string, readonly (string | Buffer)[]>>,
): Buffer {
  const list = Object.entries(attributes).map(([name, values]) =>
    tlv(0x30, octets(name), tlv(0x31, ...values.map(octets))),
  );
  return tlv(0x30, number(0x02, id), tlv(0x64, octets(dn), tlv(0x30, ...list)));
}

function defaultAnswer(request: FakeRequest): Buffer {
  return request.operation === 0x42 ? Buffer.alloc(0) : result(request, { cookie: "" });
}
