metadata description = 'Tables of the engine, leases of the Functions host, and the deployed package. Shared keys are off.'

@description('Required. Azure region.')
param location string

@description('Required. Tags.')
param tags object

@description('Required. Name of the storage account.')
@minLength(3)
@maxLength(24)
param name string

@description('Required. Resource id of the Log Analytics workspace.')
param logAnalyticsId string

@description('Required. Reached by private endpoints only.')
param privateNetworking bool

@description('Required. Subnet of the private endpoints; empty without.')
param endpointSubnetId string

@description('Required. Private DNS zones by sub-resource.')
param dnsZoneIds object

@description('Required. First part of the names of private endpoints.')
param privateEndpointPrefix string

var containerName = 'deployments'
var services = ['blob', 'queue', 'table']

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  // Zone redundancy: the connector spaces can be imported anew, the history of runs and approvals cannot.
  sku: { name: 'Standard_ZRS' }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = {
  parent: blobs
  name: containerName
  properties: { publicAccess: 'None' }
}

// The app creates its tables itself, at their first use.
resource tables 'Microsoft.Storage/storageAccounts/tableServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: tables
  properties: {
    workspaceId: logAnalyticsId
    metrics: [{ category: 'Transaction', enabled: true }]
  }
}

module endpoints 'privateEndpoint.bicep' = [
  for service in services: if (privateNetworking) {
    name: 'storage-${service}'
    params: {
      location: location
      tags: tags
      name: '${privateEndpointPrefix}${name}-${service}'
      subnetId: endpointSubnetId
      serviceId: account.id
      groupId: service
      dnsZoneId: dnsZoneIds[?service] ?? ''
    }
  }
]

@description('Name of the storage account.')
output name string = account.name

@description('Resource id of the storage account.')
output id string = account.id

@description('Where the tables are.')
output tableServiceUri string = account.properties.primaryEndpoints.table

@description('Where Flex Consumption takes the app from.')
output deploymentContainerUrl string = '${account.properties.primaryEndpoints.blob}${containerName}'
