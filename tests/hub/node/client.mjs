// A client that buf's protoc-gen-es has generated, driven by lines of JSON: a request a line, an answer a line.
// {address, transport, service, method, message, headers, timeout} -> {value} | {code, message, details}
import { createInterface } from "node:readline";
import { fromJson, toJson } from "@bufbuild/protobuf";
import { ConnectError, Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { MQHubService, PublishBatchResponseSchema } from "./gen/services/mqhub/v1/mqhub_pb.js";
import { Hub } from "./gen/services/streamtask/v1/hub_pb.js";

const services = { MQHubService, Hub };
const transports = {
  json: (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  binary: (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "grpc-web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  grpc: (baseUrl) => createGrpcTransport({ baseUrl }),
};
const clients = new Map();

function clientOf({ address, transport, service }) {
  const key = `${transport} ${address} ${service}`;
  if (!clients.has(key)) clients.set(key, createClient(services[service], transports[transport](address)));
  return clients.get(key);
}

async function answer(request) {
  const { service, method, message, headers, timeout } = request;
  const { input, output } = services[service].method[method];
  try {
    const value = await clientOf(request)[method](fromJson(input, message), { headers, timeoutMs: timeout });
    return { value: toJson(output, value) };
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const details = error.findDetails(PublishBatchResponseSchema);
    return {
      code: Code[error.code],
      message: error.rawMessage,
      details: details.map((one) => toJson(PublishBatchResponseSchema, one)),
    };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
process.exit(0); // connections that are kept alive hold up nobody
