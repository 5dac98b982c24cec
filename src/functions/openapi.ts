import { app } from "@azure/functions";
import { openApiDocument } from "../api/openapi.ts";
import { answering, json } from "../api/responses.ts";

app.http("getOpenApi", {
  methods: ["GET"],
  authLevel: "function",
  route: "openapi.json",
  handler: answering(async () => json(openApiDocument())),
});
