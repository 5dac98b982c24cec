/**
 * Routes of HTTP triggers, matched as ASP.NET Core matches them in the Functions host: without regard to case,
 * parameters decoded except for `%2F`, and at each segment a literal before a parameter before the rest of the path.
 */
import type { Trigger } from "./functionApp.ts";
import { AppStartError } from "./settings.ts";

type Segment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "parameter"; readonly name: string; readonly optional: boolean }
  | { readonly kind: "rest"; readonly name: string };

export interface Route {
  readonly functionName: string;
  /** Upper case. */
  readonly methods: readonly string[];
  readonly template: string;
  readonly segments: readonly Segment[];
}

export interface RouteMatch {
  readonly functionName: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** @throws AppStartError for a template that the local host cannot match, or two functions with the same route */
export function routesOf(triggers: readonly Trigger[], prefix: string): readonly Route[] {
  const routes = triggers.map(({ functionName, binding }) => {
    const route = String(binding.route ?? functionName).replace(/^\/+|\/+$/g, "");
    const template = [prefix, route].filter((part) => part !== "").join("/");
    const methods = (binding.methods as readonly string[]).map((method) => method.toUpperCase());
    return { functionName, methods, template, segments: parseTemplate(template, functionName) };
  });
  for (const [at, route] of routes.entries()) {
    const twin = routes
      .slice(0, at)
      .find((other) => shape(other) === shape(route) && other.methods.some((m) => route.methods.includes(m)));
    if (twin !== undefined) {
      throw new AppStartError(`${twin.functionName} and ${route.functionName} answer the same route.`);
    }
  }
  return routes.sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

/**
 * @param path of the request, still percent-encoded
 * @returns undefined when no route matches, or none for that method: the real host answers 404 to both
 */
export function matchRoute(routes: readonly Route[], method: string, path: string): RouteMatch | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  for (const route of routes) {
    const parameters = route.methods.includes(method) ? matchSegments(route.segments, parts) : undefined;
    if (parameters !== undefined) return { functionName: route.functionName, parameters };
  }
  return undefined;
}

function parseTemplate(template: string, functionName: string): readonly Segment[] {
  return template.split("/").map((part): Segment => {
    const match = /^\{(\*{0,2})([a-z_]\w*)(\??)\}$/i.exec(part);
    if (match !== null) {
      const [, rest, name, optional] = match;
      return rest === ""
        ? { kind: "parameter", name: name!, optional: optional === "?" }
        : { kind: "rest", name: name! };
    }
    if (/[{}]/.test(part)) {
      throw new AppStartError(
        `Function ${functionName}: the local host does not know the route segment "${part}" ` +
          "({name}, {name?} and {*name} are known).",
      );
    }
    return { kind: "literal", text: part.toLowerCase() };
  });
}

function matchSegments(
  segments: readonly Segment[],
  parts: readonly string[],
): Record<string, string> | undefined {
  const parameters: Record<string, string> = {};
  for (const [at, segment] of segments.entries()) {
    const part = parts[at];
    if (segment.kind === "rest") {
      parameters[segment.name] = decode(parts.slice(at).join("/"));
      return parameters;
    }
    if (segment.kind === "literal") {
      if (part === undefined || decode(part).toLowerCase() !== segment.text) return undefined;
    } else if (part === undefined) {
      if (!segment.optional) return undefined;
    } else parameters[segment.name] = decode(part);
  }
  return parts.length > segments.length ? undefined : parameters;
}

/** Decodes all but an encoded slash. What is not valid percent-encoding stays as it is. */
function decode(part: string): string {
  try {
    return part.split(/%2f/i).map(decodeURIComponent).join("%2F");
  } catch {
    return part;
  }
}

function shape(route: Route): string {
  return route.segments
    .map((segment) => (segment.kind === "literal" ? segment.text : `{${segment.kind}}`))
    .join("/");
}

/** A text that sorts routes: the more literal a segment, the earlier. */
function rank(route: Route): string {
  return route.segments
    .map((segment) => ({ literal: "0", parameter: "1", rest: "2" })[segment.kind])
    .join("")
    .padEnd(32, "1");
}
