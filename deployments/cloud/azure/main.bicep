// mcp-oidc-proxy on Azure Container Apps:
//   az deployment group create --resource-group RG --template-file main.bicep --parameters publicUrl=… …
// Secrets stay in Key Vault; the app reads them by an identity of its own.

@description('Azure region')
param location string = resourceGroup().location

@description('Name of the app')
@minLength(2)
@maxLength(32)
param name string = 'mcp-oidc-proxy'

@description('Resource id of the Container Apps environment')
param environmentId string

@description('Name of the Key Vault in this resource group with the secrets oidc-client-secret, root-key and redis-password')
param keyVaultName string

@description('Image, by digest for what shall not change')
param image string = 'ghcr.io/mcp-oidc-proxy/mcp-oidc-proxy:0.1.0'

@description('The origin under which people and clients reach the proxy')
param publicUrl string

@description('The proxy\'s configuration, with secrets as { file: /secrets/… }')
param configuration string = loadTextContent('config.yaml')

@minValue(1)
param minReplicas int = 2

@minValue(1)
@maxValue(300)
param maxReplicas int = 10

var keyVaultSecretsUser = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: keyVaultName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-identity'
  location: location
}

resource mayReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: keyVaultSecretsUser
  }
}

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  dependsOn: [
    mayReadSecrets
  ]
  properties: {
    environmentId: environmentId
    configuration: {
      // Old and new revisions side by side, so that traffic moves only to what answers.
      activeRevisionsMode: 'Multiple'
      maxInactiveRevisions: 5
      ingress: {
        external: true
        targetPort: 8080
        transport: 'auto'
        allowInsecure: false
        traffic: [
          {
            latestRevision: true
            weight: 100
          }
        ]
      }
      secrets: [
        {
          name: 'config-yaml'
          value: configuration
        }
        {
          name: 'oidc-client-secret'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/oidc-client-secret'
          identity: identity.id
        }
        {
          name: 'root-key'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/root-key'
          identity: identity.id
        }
        {
          name: 'redis-password'
          keyVaultUrl: '${vault.properties.vaultUri}secrets/redis-password'
          identity: identity.id
        }
      ]
    }
    template: {
      // shutdown.delay and shutdown.timeout together, and some.
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: 'mcp-oidc-proxy'
          image: image
          args: [
            '--config'
            '/config/config.yaml'
          ]
          env: [
            {
              name: 'PUBLIC_URL'
              value: publicUrl
            }
          ]
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/ready'
                port: 8080
              }
              periodSeconds: 1
              failureThreshold: 30
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/ready'
                port: 8080
              }
              periodSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/health'
                port: 8080
              }
              periodSeconds: 10
              failureThreshold: 3
            }
          ]
          volumeMounts: [
            {
              volumeName: 'config'
              mountPath: '/config'
            }
            {
              volumeName: 'secrets'
              mountPath: '/secrets'
            }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [
          {
            name: 'requests'
            http: {
              metadata: {
                concurrentRequests: '200'
              }
            }
          }
        ]
      }
      volumes: [
        {
          name: 'config'
          storageType: 'Secret'
          secrets: [
            {
              secretRef: 'config-yaml'
              path: 'config.yaml'
            }
          ]
        }
        {
          name: 'secrets'
          storageType: 'Secret'
          secrets: [
            {
              secretRef: 'oidc-client-secret'
              path: 'oidc-client-secret'
            }
            {
              secretRef: 'root-key'
              path: 'root-key'
            }
            {
              secretRef: 'redis-password'
              path: 'redis-password'
            }
          ]
        }
      ]
    }
  }
}

output address string = 'https://${app.properties.configuration.ingress.fqdn}'
output revision string = app.properties.latestRevisionName
