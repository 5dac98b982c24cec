/** Stands where Application Insights takes telemetry, and keeps what the real exporter sends. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { gunzipSync } from "node:zlib";
import { createAuthority, createServerCertificate } from "../../sandbox/graph/certificates.ts";

/** One item of the ingestion protocol (version 2). */
export interface Envelope {
  readonly tags: Readonly<Record<string, string>>;
  readonly data: { readonly baseType: string; readonly baseData: BaseData };
}

export interface BaseData {
  readonly name?: string;
  readonly id?: string;
  readonly success?: boolean;
  readonly properties?: Readonly<Record<string, string>>;
  readonly metrics?: readonly { readonly name: string; readonly value: number }[];
}

export interface Ingestion {
  readonly connectionString: string;
  /** Certificate (PEM) of the authority, for other processes that shall trust it. */
  readonly authority: string;
  readonly received: Envelope[];
  /** Everything as it came, to look for what must not be there. */
  readonly raw: () => string;
  close(): Promise<void>;
}

/** The exporter speaks https only and has no setting for an authority: this process trusts one more until it closes. */
export async function openIngestion(): Promise<Ingestion> {
  const authority = await createAuthority("Ingestion of a test");
  const { certificate, privateKey } = await createServerCertificate(authority);
  const trusted = getCACertificates("default");
  setDefaultCACertificates([...trusted, authority.certificate]);
  const received: Envelope[] = [];
  const texts: string[] = [];
  const server = createServer({ cert: certificate, key: privateKey }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const text = (request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body).toString(
        "utf8",
      );
      texts.push(text);
      const items: Envelope[] = text.startsWith("[")
        ? JSON.parse(text)
        : text
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => JSON.parse(line));
      received.push(...items);
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ itemsReceived: items.length, itemsAccepted: items.length, errors: [] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    connectionString: `InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint=https://127.0.0.1:${port}/`,
    authority: authority.certificate,
    received,
    raw: () => texts.join("\n"),
    close() {
      setDefaultCACertificates(trusted);
      server.closeAllConnections();
      return new Promise((resolve) => void server.close(() => resolve()));
    },
  };
}
