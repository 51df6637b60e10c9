// Functions that PyCUDA is linked against, and that we never call: each is there, and refuses.
#pragma once

#define UNUSED(name) \
  EXPORT int name() { return violation(#name ": not ours to call") * 0 + 801; }  // CUDA_ERROR_NOT_SUPPORTED

UNUSED(cuArray3DCreate_v2) UNUSED(cuArray3DGetDescriptor_v2) UNUSED(cuArrayCreate_v2) UNUSED(cuArrayDestroy)
UNUSED(cuArrayGetDescriptor_v2) UNUSED(cuCtxAttach) UNUSED(cuCtxCreate_v4) UNUSED(cuCtxDetach)
UNUSED(cuCtxDisablePeerAccess) UNUSED(cuCtxEnablePeerAccess) UNUSED(cuCtxGetCacheConfig) UNUSED(cuCtxGetLimit)
UNUSED(cuCtxGetSharedMemConfig) UNUSED(cuCtxSetCacheConfig) UNUSED(cuCtxSetLimit)
UNUSED(cuCtxSetSharedMemConfig) UNUSED(cuDeviceCanAccessPeer) UNUSED(cuDeviceComputeCapability)
UNUSED(cuDeviceGetByPCIBusId) UNUSED(cuDeviceGetPCIBusId) UNUSED(cuFuncSetAttribute)
UNUSED(cuFuncSetBlockShape) UNUSED(cuFuncSetCacheConfig) UNUSED(cuFuncSetSharedSize)
UNUSED(cuIpcCloseMemHandle) UNUSED(cuIpcGetEventHandle) UNUSED(cuIpcGetMemHandle) UNUSED(cuIpcOpenEventHandle)
UNUSED(cuIpcOpenMemHandle_v2) UNUSED(cuLaunch) UNUSED(cuLaunchGrid) UNUSED(cuLaunchGridAsync)
UNUSED(cuLinkAddData_v2) UNUSED(cuLinkAddFile_v2) UNUSED(cuLinkComplete) UNUSED(cuLinkCreate_v2)
UNUSED(cuLinkDestroy) UNUSED(cuMemAllocManaged) UNUSED(cuMemAllocPitch_v2) UNUSED(cuMemGetAddressRange_v2)
UNUSED(cuMemGetInfo_v2) UNUSED(cuMemHostGetFlags)
UNUSED(cuMemcpy2DAsync_v2) UNUSED(cuMemcpy2DUnaligned_v2) UNUSED(cuMemcpy2D_v2) UNUSED(cuMemcpy3DAsync_v2)
UNUSED(cuMemcpy3DPeer) UNUSED(cuMemcpy3DPeerAsync) UNUSED(cuMemcpy3D_v2) UNUSED(cuMemcpyAtoA_v2)
UNUSED(cuMemcpyAtoD_v2) UNUSED(cuMemcpyAtoH_v2) UNUSED(cuMemcpyDtoA_v2) UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoH_v2) UNUSED(cuMemcpyHtoA_v2) UNUSED(cuMemcpyHtoD_v2) UNUSED(cuMemcpyPeer)
UNUSED(cuMemcpyPeerAsync) UNUSED(cuMemsetD16Async) UNUSED(cuMemsetD16_v2) UNUSED(cuMemsetD2D16Async)
UNUSED(cuMemsetD2D16_v2) UNUSED(cuMemsetD2D32Async) UNUSED(cuMemsetD2D32_v2) UNUSED(cuMemsetD2D8Async)
UNUSED(cuMemsetD2D8_v2) UNUSED(cuMemsetD32Async) UNUSED(cuMemsetD32_v2) UNUSED(cuMemsetD8_v2)
UNUSED(cuModuleGetGlobal_v2) UNUSED(cuModuleGetSurfRef) UNUSED(cuModuleGetTexRef) UNUSED(cuModuleLoad)
UNUSED(cuParamSetSize) UNUSED(cuParamSetTexRef) UNUSED(cuParamSetf) UNUSED(cuParamSeti) UNUSED(cuParamSetv)
UNUSED(cuProfilerInitialize) UNUSED(cuProfilerStart) UNUSED(cuProfilerStop) UNUSED(cuStreamAttachMemAsync)
UNUSED(cuStreamQuery) UNUSED(cuSurfRefGetArray) UNUSED(cuSurfRefSetArray) UNUSED(cuTexRefCreate)
UNUSED(cuTexRefDestroy) UNUSED(cuTexRefGetAddressMode) UNUSED(cuTexRefGetAddress_v2) UNUSED(cuTexRefGetArray)
UNUSED(cuTexRefGetFilterMode) UNUSED(cuTexRefGetFlags) UNUSED(cuTexRefGetFormat)
UNUSED(cuTexRefSetAddress2D_v3) UNUSED(cuTexRefSetAddressMode) UNUSED(cuTexRefSetAddress_v2)
UNUSED(cuTexRefSetArray) UNUSED(cuTexRefSetFilterMode) UNUSED(cuTexRefSetFlags) UNUSED(cuTexRefSetFormat)
