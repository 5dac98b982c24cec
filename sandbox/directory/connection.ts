/** One client's connection: requests in the order in which they come, each answered before the next is read. */
import type { TLSSocket } from "node:tls";
import { authenticate } from "./accounts.ts";
import { readControls } from "./controls.ts";
import type { Directory, Principal } from "./directory.ts";
import { LdapError, resultCode } from "./errors.ts";
import { Operations } from "./operations.ts";
import { notBound } from "./passwords.ts";
import {
  decodeRequest,
  encodeDisconnection,
  encodeEntry,
  encodeReference,
  encodeResult,
  type Request,
  type RequestMessage,
  type Result,
  responseTag,
  type SearchRequest,
  splitMessages,
} from "./protocol.ts";
import { rootDse, Searches } from "./search.ts";

const whoAmI = "1.3.6.1.4.1.4203.1.11.3";

export class Connection {
  readonly #directory: Directory;
  readonly #socket: TLSSocket;
  readonly #searches: Searches;
  #principal: Principal = { kind: "anonymous" };
  #received: Buffer = Buffer.alloc(0);

  constructor(directory: Directory, socket: TLSSocket) {
    this.#directory = directory;
    this.#socket = socket;
    this.#searches = new Searches(directory);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    // A client that went away: its connection ends, which is all there is to do.
    socket.on("error", () => socket.destroy());
  }

  #receive(chunk: Buffer): void {
    try {
      const { messages, rest } = splitMessages(Buffer.concat([this.#received, chunk]));
      this.#received = rest;
      this.#socket.cork();
      for (const message of messages) this.#answer(decodeRequest(message));
      this.#socket.uncork();
    } catch (error) {
      // RFC 4511 4.1.1: what cannot be read ends the session, with a notice.
      this.#socket.uncork();
      this.#socket.end(encodeDisconnection(resultCode.protocolError, (error as Error).message));
    }
  }

  #answer({ id, request, controls: requested }: RequestMessage): void {
    if (request.kind === "unbind") {
      this.#socket.end();
      return;
    }
    if (request.kind === "abandon") return; // what it names is answered already
    const tag = responseTag[request.kind];
    try {
      if (request.kind === "extended") {
        this.#extended(id, request.oid);
        return;
      }
      const controls = readControls(requested);
      if (request.kind === "search") {
        this.#search(id, request, controls);
        return;
      }
      this.#socket.write(encodeResult(id, tag, this.#change(request, controls)));
    } catch (error) {
      if (!(error instanceof LdapError)) throw error;
      this.#socket.write(encodeResult(id, tag, { code: error.code, message: error.message }));
    }
  }

  #change(
    request: Exclude<Request, SearchRequest | { kind: "unbind" | "abandon" | "extended" }>,
    controls: ReturnType<typeof readControls>,
  ): Result {
    const success = { code: resultCode.success };
    if (request.kind === "bind") return this.#bind(request.name, request.password);
    if (this.#principal.kind === "anonymous") throw notBound();
    const operations = new Operations(this.#directory, this.#principal);
    switch (request.kind) {
      case "add":
        operations.add(request.dn, request.attributes);
        return success;
      case "modify":
        operations.modify(request.dn, request.changes, controls);
        return success;
      case "modifyDn":
        operations.modifyDn(request.dn, request.newRdn, request.newSuperior, controls);
        return success;
      case "delete":
        operations.delete(request.dn, controls);
        return success;
      default: {
        const { entry, schema } = operations.compare(request.dn, request.attribute);
        const same = this.#searches.compare(entry, schema, request.value, this.#principal);
        return { code: same ? resultCode.compareTrue : resultCode.compareFalse };
      }
    }
  }

  #bind(name: string, password: string | undefined): Result {
    this.#principal = { kind: "anonymous" }; // RFC 4511 4.2.1: whatever comes of the new bind, the old one is over
    if (password === undefined) {
      throw new LdapError(resultCode.authMethodNotSupported, 0x2027, "only simple binds are supported");
    }
    if (name === "" && password === "") return { code: resultCode.success };
    this.#principal = this.#directory.principalOf(authenticate(this.#directory, name, password));
    return { code: resultCode.success };
  }

  #search(id: number, request: SearchRequest, controls: ReturnType<typeof readControls>): void {
    if (request.base === "" && request.scope === "base") {
      const attributes = rootDse(this.#directory, request.attributes);
      this.#socket.write(encodeEntry(id, "", attributes));
      this.#socket.write(encodeResult(id, responseTag.search, { code: resultCode.success }));
      return;
    }
    if (this.#principal.kind === "anonymous") throw notBound();
    const answer = this.#searches.search(request, controls, this.#principal);
    for (const { dn, attributes } of answer.entries) this.#socket.write(encodeEntry(id, dn, attributes));
    for (const url of answer.references) this.#socket.write(encodeReference(id, url));
    this.#socket.write(encodeResult(id, responseTag.search, answer.result));
  }

  #extended(id: number, oid: string): void {
    if (oid !== whoAmI) {
      throw new LdapError(resultCode.protocolError, 0x57, `the extended operation ${oid} is not supported`);
    }
    const principal = this.#principal;
    const domain = this.#directory.dnsName.split(".")[0]!.toUpperCase();
    const value =
      principal.kind === "anonymous" ? "" : `u:${domain}\\${principal.entry.values.samaccountname}`;
    this.#socket.write(encodeResult(id, responseTag.extended, { code: resultCode.success }, { value }));
  }
}
