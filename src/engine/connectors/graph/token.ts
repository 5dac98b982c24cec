/** Bearer tokens for Graph: the managed identity's, an application's by its certificate, or a fixed one for tests. */
import type {
  ClientCertificatePEMCertificate,
  ClientCertificatePEMCertificatePath,
  TokenCredential,
} from "@azure/identity";
import { ConnectorError } from "../../ports/connector.ts";
import type { TokenSource } from "./pipeline.ts";
import { authorityOf, type GraphSettings } from "./settings.ts";

/** The credential renews and caches its tokens itself. */
export function tokenSource(settings: GraphSettings): TokenSource {
  const { accessToken } = settings;
  if (accessToken !== undefined) return () => Promise.resolve(accessToken);
  let credential: Promise<TokenCredential> | undefined;
  return async (claims) => {
    credential ??= newCredential(settings);
    try {
      const token = await (await credential).getToken(
        `${settings.baseUrl}/.default`,
        claims === undefined ? {} : { claims },
      );
      if (token === null) throw new Error("the credential gave no token");
      return token.token;
    } catch (cause) {
      throw tokenFailure(cause as Error);
    }
  };
}

/** What the credential is made of. A certificate goes before a managed identity: it was set on purpose. */
export function credentialOf(settings: GraphSettings) {
  const { baseUrl, clientCertificate, clientId, tenantId } = settings;
  const authorityHost = settings.authorityHost ?? authorityOf(baseUrl);
  const options = authorityHost === undefined ? {} : { authorityHost };
  if (clientCertificate !== undefined && tenantId !== undefined && clientId !== undefined) {
    const isText = clientCertificate.includes("-----BEGIN");
    const certificate: ClientCertificatePEMCertificate | ClientCertificatePEMCertificatePath = isText
      ? { certificate: clientCertificate }
      : { certificatePath: clientCertificate };
    return { kind: "certificate", tenantId, clientId, certificate, options } as const;
  }
  const identity = clientId === undefined ? {} : { managedIdentityClientId: clientId };
  return { kind: "identity", options: { ...options, ...identity } } as const;
}

/** Loaded when it is first needed: it is by far the largest part of a cold start. */
async function newCredential(settings: GraphSettings): Promise<TokenCredential> {
  const { ClientCertificateCredential, DefaultAzureCredential } = await import("@azure/identity");
  const made = credentialOf(settings);
  if (made.kind === "identity") return new DefaultAzureCredential(made.options);
  const { tenantId, clientId, certificate, options } = made;
  return "certificate" in certificate
    ? new ClientCertificateCredential(tenantId, clientId, certificate, options)
    : new ClientCertificateCredential(tenantId, clientId, certificate, options);
}

/** Of several credentials that failed, the reason of one that was set up counts; the others are merely absent. */
function tokenFailure(error: Error & { errors?: readonly Error[] }): ConnectorError {
  const cause: Error & { statusCode?: number } =
    error.errors?.find(({ name }) => name !== "CredentialUnavailableError") ?? error;
  const { statusCode = 0 } = cause;
  const firstLine = cause.message.split("\n", 1)[0]!;
  if (statusCode === 429 || statusCode >= 500) {
    return new ConnectorError("unreachable", `The token service answered ${statusCode}: ${firstLine}`, {
      cause,
    });
  }
  return new ConnectorError(
    "access-denied",
    `No token for Graph: ${firstLine} Switch the function app's managed identity on and give it the application ` +
      "permission User.Read.All, or set clientCertificate; GRAPH_ACCESS_TOKEN is for sandbox and tests.",
    { cause },
  );
}
