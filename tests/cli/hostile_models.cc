#include "cli/hostile.h"

namespace tessera {
namespace {

constexpr const char* kIndex = "model/model_index.json";
constexpr const char* kEncoder = "model/text_encoder/config.json";
constexpr const char* kEncoderWeights = "model/text_encoder/model.safetensors";
constexpr const char* kTransformer = "model/transformer/config.json";
constexpr const char* kWeights = "model/transformer/diffusion_pytorch_model.safetensors";
constexpr const char* kVae = "model/vae/config.json";
constexpr const char* kScheduler = "model/scheduler/scheduler_config.json";
constexpr const char* kTokenizer = "model/tokenizer/tokenizer.json";

// One edit of the model, and a job that must not run.
Hostile Model(const char* name, const Edit& edit, const char* says) { return {name, Generate({}), says, {edit}}; }

std::string Repeat(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

}  // namespace

std::vector<Hostile> HostileModels() {
  return {
      // The folder.
      {"ModelMissing", {"generate", "--prompt", "x", "--model-path", "/nonexistent/model"}, "/nonexistent/model"},
      {"ModelIsAFile", {"generate", "--prompt", "x", "--model-path", kIndex}, "model_index.json"},
      {"ModelIsEmpty", {"generate", "--prompt", "x", "--model-path", "hollow"}, "hollow", {{What::kFolder, "hollow"}}},
      {"ModelIsADevice", {"generate", "--prompt", "x", "--model-path", "/dev/zero"}, "/dev/zero"},
      {"ModelNotInTheCache", {"generate", "--prompt", "x", "--model-path", "nobody/nothing"}, "nobody/nothing"},
      {"ModelNameOfBytes", {"generate", "--prompt", "x", "--model-path", "\xff"}, "is not valid UTF-8"},
      {"ModelNameTooLong", {"generate", "--prompt", "x", "--model-path", std::string(10000, 'm')}, "mmm"},

      // model_index.json.
      Model("IndexMissing", {What::kRemove, kIndex}, "model_index.json"),
      Model("IndexEmpty", {What::kWrite, kIndex, ""}, "model_index.json"),
      Model("IndexBroken", {What::kWrite, kIndex, "{\"_class_name\": "}, "model_index.json"),
      Model("IndexAList", {What::kWrite, kIndex, "[]"}, "model_index.json"),
      Model("IndexABomb", {What::kWrite, kIndex, Repeat("{\"a\":", 100000)}, "model_index.json"),
      Model("IndexOfBytes", {What::kWrite, kIndex, "{\"_class_name\": \"\xff\"}"}, "model_index.json"),
      Model("IndexAFolder", {What::kFolder, kIndex}, "model_index.json"),
      Model("IndexAPipe", {What::kPipe, kIndex}, "model_index.json"),
      Model("IndexADevice", {What::kLink, kIndex, "/dev/zero"}, "model_index.json"),
      Model("PipelineUnknown", {What::kJson, kIndex, "/_class_name=\"CatPipeline\""}, "CatPipeline"),
      Model("PipelineMissing", {What::kUnsetJson, kIndex, "/_class_name"}, "pipeline class ''"),
      Model("PipelineANumber", {What::kJson, kIndex, "/_class_name=7"}, "_class_name"),
      Model("ComponentMissing", {What::kUnsetJson, kIndex, "/transformer"}, "transformer"),
      Model("ComponentClassUnknown", {What::kJson, kIndex, "/transformer/1=\"CatTransformer\""}, "CatTransformer"),
      Model("EncoderClassUnknown", {What::kJson, kIndex, "/text_encoder/1=\"CatModel\""}, "CatModel"),
      Model("VaeClassUnknown", {What::kJson, kIndex, "/vae/1=\"AutoencoderCat\""}, "AutoencoderCat"),
      Model("SchedulerClassUnknown", {What::kJson, kIndex, "/scheduler/1=\"CatScheduler\""}, "CatScheduler"),
      Model("TokenizerClassUnknown", {What::kJson, kIndex, "/tokenizer/1=\"CatTokenizer\""}, "CatTokenizer"),
      Model("OutputLayerBeyondTheEncoder", {What::kJson, kIndex, "/text_encoder_out_layers=[2,4,99]"}, "99"),
      Model("OutputLayersMissing", {What::kJson, kIndex, "/text_encoder_out_layers=[]"}, "0 taps of the text encoder"),
      Model("OutputLayersNegative", {What::kJson, kIndex, "/text_encoder_out_layers=[-1,2,4]"},
            "text_encoder_out_layers"),
      Model("DefaultTokensNegative", {What::kJson, kIndex, "/max_sequence_length=-5"}, "max_sequence_length"),
      {"DefaultSizeAbsurd",
       {"generate", "--prompt", "x", "--model-path", "model"},
       "default_height",
       {{What::kJson, kIndex, "/default_height=99999999999999"}}},

      // Missing and broken components.
      Model("SchedulerFolderMissing", {What::kRemove, "model/scheduler"}, "scheduler"),
      Model("SchedulerConfigBroken", {What::kWrite, kScheduler, "shift: 3"}, "scheduler_config.json"),
      Model("SchedulerConfigOfAnother", {What::kJson, kScheduler, "/_class_name=\"CatScheduler\""}, "CatScheduler"),
      Model("SchedulerShiftAWord", {What::kJson, kScheduler, "/shift=\"much\""}, "shift"),
      Model("SchedulerShiftNegative", {What::kJson, kScheduler, "/shift=-3"}, "shift"),
      Model("SchedulerTimestepsZero", {What::kJson, kScheduler, "/num_train_timesteps=0"}, "num_train_timesteps"),
      Model("SchedulerOptionUnsupported", {What::kJson, kScheduler, "/use_karras_sigmas=true"}, "use_karras_sigmas"),
      Model("SchedulerShiftTypeUnknown", {What::kJson, kScheduler, "/time_shift_type=\"cubic\""}, "cubic"),
      Model("TokenizerFolderMissing", {What::kRemove, "model/tokenizer"}, "tokenizer"),
      {"TokenizerFilesMissing",
       Generate({}),
       "vocab.json",
       {{What::kRemove, kTokenizer}, {What::kRemove, "model/tokenizer/vocab.json"}}},
      Model("TokenizerFileEmpty", {What::kWrite, kTokenizer, ""}, "tokenizer.json"),
      Model("TokenizerFileCut", {What::kCut, kTokenizer, "1000"}, "tokenizer.json"),
      Model("TokenizerFileOfNothing", {What::kWrite, kTokenizer, "{}"}, "tokenizer.json"),
      Model("TokenizerFileABomb", {What::kWrite, kTokenizer, Repeat("[", 1000000)}, "tokenizer.json"),
      Model("TokenizerFileAFolder", {What::kFolder, kTokenizer}, "tokenizer.json"),
      Model("TokenizerFileAPipe", {What::kPipe, kTokenizer}, "tokenizer.json"),
      Model("TokenizerOfAnotherKind", {What::kJson, kTokenizer, "/model/type=\"WordPiece\""}, "WordPiece"),
      Model("TokenizerVocabularyGone", {What::kJson, kTokenizer, "/model/vocab={}"}, "tokenizer.json"),
      Model("TokenizerVocabularyAList", {What::kJson, kTokenizer, "/model/vocab=[1,2]"}, "tokenizer.json"),
      Model("TokenizerIdBeyondTheEncoder", {What::kJson, kTokenizer, "/model/vocab/a=99999999"}, "99999999"),
      Model("TokenizerIdNegative", {What::kJson, kTokenizer, "/model/vocab/a=-1"}, "tokenizer.json"),

      // Configurations that lie about the weights.
      Model("EncoderConfigMissing", {What::kRemove, kEncoder}, "text_encoder/config.json"),
      Model("EncoderConfigBroken", {What::kWrite, kEncoder, "{"}, "text_encoder/config.json"),
      Model("EncoderLayersNegative", {What::kJson, kEncoder, "/num_hidden_layers=-1"}, "num_hidden_layers"),
      Model("EncoderLayersAbsurd", {What::kJson, kEncoder, "/num_hidden_layers=1000000"}, "num_hidden_layers"),
      Model("EncoderLayersAWord", {What::kJson, kEncoder, "/num_hidden_layers=\"seven\""}, "num_hidden_layers"),
      Model("EncoderHeadsZero", {What::kJson, kEncoder, "/num_attention_heads=0"}, "num_attention_heads"),
      Model("EncoderKeyHeadsDoNotDivide", {What::kJson, kEncoder, "/num_key_value_heads=3"}, "num_key_value_heads"),
      Model("EncoderHeadSizeZero", {What::kJson, kEncoder, "/head_dim=0"}, "head_dim"),
      Model("EncoderHeadSizeOdd", {What::kJson, kEncoder, "/head_dim=31"}, "head_dim"),
      Model("EncoderHiddenSizeWrong", {What::kJson, kEncoder, "/hidden_size=256"}, "text encoder's 256 channels"),
      Model("EncoderVocabularyWrong", {What::kJson, kEncoder, "/vocab_size=10"}, "10 rows"),
      Model("EncoderRotationZero", {What::kJson, kEncoder, "/rope_theta=0"}, "rope_theta"),
      Model("EncoderEpsilonNegative", {What::kJson, kEncoder, "/rms_norm_eps=-1"}, "rms_norm_eps"),
      Model("EncoderEpsilonAWord", {What::kJson, kEncoder, "/rms_norm_eps=\"x\""}, "rms_norm_eps"),
      Model("TransformerConfigMissing", {What::kRemove, kTransformer}, "transformer/config.json"),
      Model("TransformerClassWrong", {What::kJson, kTransformer, "/_class_name=\"CatTransformer\""}, "CatTransformer"),
      Model("TransformerLayersNegative", {What::kJson, kTransformer, "/num_layers=-1"}, "num_layers"),
      Model("TransformerLayersTooMany", {What::kJson, kTransformer, "/num_layers=3"}, "transformer_blocks.2"),
      Model("TransformerLayersTooFew", {What::kJson, kTransformer, "/num_layers=1"}, "transformer_blocks.1"),
      Model("TransformerLayersAbsurd", {What::kJson, kTransformer, "/num_single_layers=2000000000"},
            "num_single_layers"),
      Model("TransformerHeadSizeZero", {What::kJson, kTransformer, "/attention_head_dim=0"}, "attention_head_dim"),
      Model("TransformerHeadsZero", {What::kJson, kTransformer, "/num_attention_heads=0"}, "num_attention_heads"),
      Model("TransformerHeadsWrong", {What::kJson, kTransformer, "/num_attention_heads=4"}, "transformer"),
      Model("TransformerChannelsZero", {What::kJson, kTransformer, "/in_channels=0"}, "in_channels"),
      Model("TransformerChannelsWrong", {What::kJson, kTransformer, "/in_channels=32"}, "transformer"),
      Model("TransformerAxesDoNotFillTheHead", {What::kJson, kTransformer, "/axes_dims_rope=[16,16,16,8]"},
            "axes_dims_rope"),
      Model("TransformerAxesOdd", {What::kJson, kTransformer, "/axes_dims_rope=[15,17,16,16]"}, "axes_dims_rope"),
      Model("TransformerAxesNegative", {What::kJson, kTransformer, "/axes_dims_rope=[-16,48,16,16]"}, "axes_dims_rope"),
      Model("TransformerTextSizeWrong", {What::kJson, kTransformer, "/joint_attention_dim=100"}, "joint_attention_dim"),
      Model("TransformerRotationNegative", {What::kJson, kTransformer, "/rope_theta=-2"}, "rope_theta"),
      Model("TransformerWidthNegative", {What::kJson, kTransformer, "/mlp_ratio=-3"}, "mlp_ratio"),
      Model("TransformerGuidanceWithoutWeights", {What::kJson, kTransformer, "/guidance_embeds=true"}, "guidance"),
      Model("VaeConfigMissing", {What::kRemove, kVae}, "vae/config.json"),
      Model("VaeClassWrong", {What::kJson, kVae, "/_class_name=\"AutoencoderCat\""}, "AutoencoderCat"),
      Model("VaeChannelsZero", {What::kJson, kVae, "/latent_channels=0"}, "latent_channels"),
      Model("VaeChannelsWrong", {What::kJson, kVae, "/latent_channels=8"}, "vae"),
      Model("VaeBlocksMissing", {What::kJson, kVae, "/block_out_channels=[]"}, "block_out_channels"),
      Model("VaeBlocksAbsurd", {What::kJson, kVae, "/block_out_channels=[16,16,32,2000000000]"}, "vae"),
      Model("VaeGroupsDoNotDivide", {What::kJson, kVae, "/norm_num_groups=7"}, "norm_num_groups"),
      Model("VaeGroupsZero", {What::kJson, kVae, "/norm_num_groups=0"}, "norm_num_groups"),
      Model("VaePatchZero", {What::kJson, kVae, "/patch_size=[0,2]"}, "patch_size"),
      Model("VaeLayersAbsurd", {What::kJson, kVae, "/layers_per_block=1000000000"}, "layers_per_block"),

      // Weights.
      Model("WeightsMissing", {What::kRemove, kWeights}, "transformer"),
      Model("WeightsEmpty", {What::kWrite, kWeights, ""}, "safetensors"),
      Model("WeightsOfFourBytes", {What::kCut, kWeights, "4"}, "safetensors"),
      Model("WeightsCutInTheHeader", {What::kCut, kWeights, "300"}, "safetensors"),
      Model("WeightsCutInTheMiddle", {What::kCut, kWeights, "1000000"}, "safetensors"),
      Model("EncoderWeightsCut", {What::kCut, kEncoderWeights, "100000"}, "safetensors"),
      Model("WeightsAFolder", {What::kFolder, kWeights}, "safetensors"),
      Model("WeightsAPipe", {What::kPipe, kWeights}, "safetensors"),
      Model("WeightsADevice", {What::kLink, kWeights, "/dev/zero"}, "safetensors"),
      Model("WeightsOfZeros", {What::kSparse, kWeights, "1000000"}, "safetensors"),
      Model("WeightsAreText", {What::kWrite, kWeights, "these are not the weights you are looking for"}, "safetensors"),
      Model("WeightsHeaderTooLong", {What::kWrite, kWeights, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)},
            "safetensors"),
      Model("WeightsHeaderABomb",
            {What::kWrite, kWeights, std::string("\xa0\x86\x01\0\0\0\0\0", 8) + std::string(100000, '[')},
            "safetensors"),
      Model("WeightsTypeUnknown", {What::kReplace, kWeights, "\"BF16\"=>\"CF16\""}, "CF16"),
      Model("WeightsTypeOfAnotherSize", {What::kReplace, kWeights, "\"BF16\"=>\"F64\" "}, "safetensors"),
      Model("WeightsShapeWrong", {What::kReplace, kWeights, "[192,384]=>[384,192]"}, "context_embedder.weight"),
      Model("WeightsShapeNegative", {What::kReplace, kWeights, "[192,384]=>[-19,384]"}, "context_embedder.weight"),
      Model("WeightsOffsetBackwards", {What::kReplace, kWeights, "[0,147456]=>[147456,0]"}, "context_embedder.weight"),
      Model("WeightsOffsetBeyond", {What::kReplace, kWeights, "[0,147456]=>[9,999999]"}, "safetensors"),
      Model("WeightsTensorRenamed", {What::kReplace, kWeights, "context_embedder=>context_embeddes"},
            "context_embedde"),
      {"ShardMissing",
       Generate({}),
       "shard-2.safetensors",
       {{What::kRemove, kWeights},
        {What::kWrite, "model/transformer/diffusion_pytorch_model.safetensors.index.json",
         "{\"weight_map\": {\"context_embedder.weight\": \"shard-2.safetensors\"}}"}}},
      {"ShardOutsideTheFolder",
       Generate({}),
       "index.json",
       {{What::kRemove, kWeights},
        {What::kWrite, "model/transformer/diffusion_pytorch_model.safetensors.index.json",
         "{\"weight_map\": {\"context_embedder.weight\": \"../../secret.safetensors\"}}"}}},
      {"ShardIndexBroken",
       Generate({}),
       "index.json",
       {{What::kRemove, kWeights},
        {What::kWrite, "model/transformer/diffusion_pytorch_model.safetensors.index.json", "{\"weight_map\": 7}"}}},
      {"WeightsForbidden", Generate({}), "ermission denied", {{What::kForbid, kWeights}}, Confinement::kPlainUser},
  };
}

}  // namespace tessera
